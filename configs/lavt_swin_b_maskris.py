# LAVT trained with MaskRIS; the values are those for CARIS [R].
_base_ = 'lavt_swin_b.py'

model = dict(self_distillation=dict(type='MaskRIS'))
