# DETRIS trained with MaskRIS; values of CARIS, but classes of equal weight, as in DETRIS's own loss [R].
_base_ = 'detris_vitb_refcoco.py'

model = dict(self_distillation=dict(type='MaskRIS', class_weight=(1.0, 1.0)))
