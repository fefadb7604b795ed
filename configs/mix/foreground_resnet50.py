# No text at all: MagNet's decoder on a ResNet-50 in mmseg's own EncoderDecoder, which learns where anything is that
# expressions speak of. What it scores, a network reaches without reading.
_base_ = '../magnet_swin_b.py'

model = dict(
    _delete_=True,
    type='EncoderDecoder',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(type='ResNetV1c', depth=50, init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c')),
    decode_head=dict(type='MagNetHead', in_channels=(256, 512, 1024, 2048)),
    test_cfg=dict(mode='whole'),
)
# mmseg gives masks at the image's own size
val_evaluator = dict(resolution='original')
test_evaluator = dict(resolution='original')
