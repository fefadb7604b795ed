# CRIS on RefCOCO (unc) with CLIP ResNet-101.
_base_ = 'cris_r50_refcoco.py'

clip = 'pretrained/clip_rn101.pth'
model = dict(
    backbone=dict(depths=(3, 4, 23, 3), embed_dims=512, pretrained=clip),
    text_encoder=dict(sentence_channels=512, pretrained=clip),
)
