# ReLA on RefCOCO trained with MaskRIS; the values are those for CARIS [R].
_base_ = 'rela_swin_b_refcoco.py'

model = dict(self_distillation=dict(type='MaskRIS'))
