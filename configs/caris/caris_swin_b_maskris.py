# CARIS trained with MaskRIS: patch 32, 75 % of the image and 15 % of the words masked, weights 0.5 [O].
_base_ = 'caris_swin_b_refcoco.py'

model = dict(self_distillation=dict(type='MaskRIS'))
