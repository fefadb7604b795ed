# synthetic.py in batches of 16, of which an epoch has 900.
_base_ = 'synthetic.py'

train_dataloader = dict(batch_size=16, dataset=dict(indices=14400))
