# CRIS trained with MaskRIS; values of CARIS, but classes of equal weight, as in CRIS's own loss [R].
_base_ = 'cris_r50_refcoco.py'

model = dict(self_distillation=dict(type='MaskRIS', class_weight=(1.0, 1.0)))
