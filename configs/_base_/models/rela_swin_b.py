# ReLA (GRES, arXiv 2306.00968): LAVT's fusion, then regions that read the words and vote for a mask or for none.
_base_ = 'lavt_base.py'

model = dict(
    text_encoder=dict(trained_layers=10),  # the release leaves embeddings and the last two layers as they were
    decode_head=dict(_delete_=True, type='ReLAHead'),
)
