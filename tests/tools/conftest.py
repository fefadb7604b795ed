"""Tools are scripts: what lies beside a command is imported by its bare name, as the command does."""

import sys
from pathlib import Path

for folder in ('ablation', 'benchmark'):
    sys.path.append(str(Path(__file__).parents[2] / 'tools' / 'analysis_tools' / folder))
