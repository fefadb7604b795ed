# synthetic.py in batches of 16, of which an epoch has 1200.
_base_ = 'synthetic.py'

train_dataloader = dict(batch_size=16, dataset=dict(indices=19200))
