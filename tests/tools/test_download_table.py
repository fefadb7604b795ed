"""The table of what tools/download.py brings, and the commands that it names next."""

import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('names', 'there', 'commands'),
    [
        (['refcoco'], [], ['download.py train2014 --root {root}', 'refer.py {root} --dataset refcoco --split-by unc']),
        (['refcocog'], ['train2014'], ['refer.py {root} --dataset refcocog --split-by umd']),
        (['train2014'], ['train2014', 'grefcoco'], ['grefcoco.py {root}']),
        (['swin-b', 'bert-base-uncased'], [], ['train.py configs/magnet_swin_b.py']),
    ],
)
def test_next_commands(downloader, tmp_path, names, there, commands):
    root = tmp_path / 'my sets'
    for name in there:
        for file in downloader.SOURCES[name].files:
            path = Path(downloader.SOURCES[name].place.format(root=root), file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = [re.sub(r'^python tools/(\w+/)?', '', command) for command in downloader.next_commands(names, root)]
    assert found == [command.format(root=shlex.quote(str(root))) for command in commands]


def test_table(downloader):
    """Addresses, checksums and commands have their form, and configs read the files where they are put."""
    for source in downloader.SOURCES.values():
        for address in source.addresses:
            assert re.match(r'https?://[^?]+/[^/?]+\.(zip|tar|pth)$|hub:(model|dataset):[^:]+:\w+$', address)
        for checksum in [*source.addresses.values(), *source.files.values()]:
            assert re.fullmatch(r'|sha256:([0-9a-f]{8}|[0-9a-f]{64})|md5:[0-9a-f]{32}', checksum)
        for path in re.findall(r'\b(?:tools|configs)/\S+', source.next_command):
            assert (ROOT / path).is_file()
        if source.place.startswith('pretrained/'):
            config = Config.fromfile(ROOT / source.next_command.split()[-1])
            assert config.model.backbone.pretrained == source.place
    assert config.model.text_encoder.pretrained in downloader.SOURCES


def test_list_and_unknown_name(downloader, capsys):
    for arguments, status in ((['--list'], 0), (['refcocoo'], 2), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            downloader.main(arguments)
        assert ended.value.code == status
    out, err = capsys.readouterr()
    assert [line.split(':')[0] for line in out.splitlines() if not line.startswith(' ')] == list(downloader.SOURCES)
    assert 'CC BY-NC-SA 4.0' in out and 'no checksum known' in out
    assert "invalid choice: 'refcocoo'" in err
