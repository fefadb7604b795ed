"""Models by name, against a hub on 127.0.0.1: the whole way, and what goes wrong on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_server import serve
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
from PIL import Image

from mmmagnet.apis import ReferringInferencer
from mmmagnet.model_converters import CARIS, model_zoo
from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.config import load_config
from mmmagnet.utils.errors import CheckpointError
from mmmagnet.utils.io import file_sha256

ROOT = Path(__file__).parents[2]
NAME = 'caris_swin-b_refcoco'
FILE = 'them/weights/caris+.pth'
SIZES = ROOT / 'tests/data/official_parity_caris/arch_caris_small.json'
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


@pytest.fixture(scope='module')
def released_file(tmp_path_factory, released):
    path = tmp_path_factory.mktemp('released') / 'caris+.pth'
    torch.save(released('caris'), path)
    return path


@pytest.fixture
def hub(released_file):
    with serve({FILE: released_file}) as server:
        yield server


@pytest.fixture(scope='module')
def small_config():
    """Text of the config of the network that the file is of."""
    config = load_config(ROOT / 'configs' / CARIS.config)
    config.model = CARIS.resize(config.model.to_dict(), json.loads(SIZES.read_text()))
    for step in config.test_pipeline:
        step.update(
            {'Resize': {'scale': (64, 64)}, 'TokenizeExpression': {'tokenizer': TOKENIZER}}.get(step['type'], {})
        )
    config.test_dataloader.dataset.pipeline = config.test_pipeline
    return config.pretty_text


@pytest.fixture
def quick(monkeypatch):
    """Keep the downloaded file as it is, where its conversion is not what is tested."""
    monkeypatch.setattr(model_zoo, 'convert_release', lambda source, out, *_: out.write_bytes(source.read_bytes()))


@pytest.fixture
def zoo(tmp_path, released_file, small_config, hub, monkeypatch):
    """Make the one model known, with changes of its metafile's entry; give the folder of caches."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/small.py').write_text(small_config)
    source = {
        'Weights': 'https://huggingface.co/them/weights/resolve/main/caris+.pth',
        'SHA256': file_sha256(released_file),
        'Size': released_file.stat().st_size,
        'Config': 'configs/small.py',
        'License': 'to look at only',
    }

    def known(**changes):
        entry = {'Name': NAME, 'In Collection': 'CARIS', 'Metadata': {'Image Size': '64 x 64'}}
        entry['Converted From'] = {name: value for name, value in (source | changes).items() if value is not None}
        other = {'Name': 'caris_swin-b_refcoco+', 'In Collection': 'CARIS'}
        (tmp_path / 'configs/metafile.yaml').write_text(yaml.safe_dump({'Models': [entry, other]}))
        return tmp_path

    monkeypatch.setattr(model_zoo, 'package_root', lambda: tmp_path)
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    monkeypatch.setattr(
        file_download, 'HUGGINGFACE_CO_URL_TEMPLATE', hub.url + '/{repo_id}/resolve/{revision}/{filename}'
    )
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 1 << 16)
    monkeypatch.setattr(_http.time, 'sleep', lambda seconds: None)
    monkeypatch.setenv('MMMAGNET_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    known()
    _http.reset_sessions()  # one made offline stays so
    yield known
    _http.reset_sessions()


def content_requests(hub):
    return [begin for method, path, begin in hub.asked if method == 'GET' and '/content/' in path]


def test_second_call_asks_nobody(zoo, hub, capsys):
    zoo()
    config, checkpoint = model_zoo.fetch(NAME)
    said = capsys.readouterr().err
    assert "come under their authors' terms: to look at only" in said and 'SHA-256' not in said
    assert content_requests(hub) == [0]
    before = len(hub.asked), checkpoint.stat().st_mtime_ns
    assert model_zoo.fetch(NAME) == (config, checkpoint)
    assert (len(hub.asked), checkpoint.stat().st_mtime_ns) == before
    assert capsys.readouterr().err == ''
    assert load_file(checkpoint)['meta']['official']['from'] == 'caris+.pth'

    inferencer = ReferringInferencer(NAME, device='cpu')
    black = np.zeros((48, 64, 3), np.uint8)
    (result,) = inferencer(black, ['the red square'])
    expected = ReferringInferencer(checkpoint, device='cpu')
    (other,) = expected(black, ['the red square'])
    assert result.mask.shape == (48, 64)
    assert result.score == other.score and (result.mask == other.mask).all()
    for tensors in ('named_parameters', 'named_buffers'):  # of buffers a file has not all
        ours, theirs = (dict(getattr(model.model, tensors)()) for model in (inferencer, expected))
        assert [name for name in theirs if not ours[name].equal(theirs[name])] == []


@pytest.mark.slow
def test_command_line(zoo, hub, tmp_path):
    """In processes of their own, by variables of the environment; the second finds no hub."""
    folder = zoo()
    (folder / 'tools').symlink_to(ROOT / 'tools')
    (folder / 'mmmagnet').mkdir()
    for part in (ROOT / 'mmmagnet').iterdir():
        if part.name != '.mim':  # an editable install's link to the checkout's own metafiles
            (folder / 'mmmagnet' / part.name).symlink_to(part)
    Image.new('RGB', (64, 48)).save(folder / 'photo.jpg')
    variables = {'PYTHONPATH': str(folder), 'HF_HOME': str(folder / 'hf'), 'CUDA_VISIBLE_DEVICES': ''}

    def infer(*arguments, endpoint=hub.url):
        command = [sys.executable, 'tools/infer.py', *arguments]
        environment = {**os.environ, **variables, 'HF_ENDPOINT': endpoint}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    listed = infer('--list-models')
    assert (listed.returncode, listed.stdout.split()[:5]) == (0, [NAME, '64', 'x', '64', 'to']), listed.stderr
    for endpoint in (hub.url, 'http://127.0.0.1:9'):
        found = infer('photo.jpg', '--text', 'the red square', '--model', NAME, endpoint=endpoint)
        assert (found.returncode, 'terms: to look at' in found.stderr) == (0, endpoint == hub.url), found.stderr
        assert 'outputs/photo' in found.stdout and 'of the pixels' in found.stdout
    wrong = infer('photo.jpg', '--text', 'a', '--model', 'caris_swin-b')
    assert (wrong.returncode, wrong.stderr.count('\n')) == (2, 1)
    assert wrong.stderr.startswith('error: caris_swin-b: no file and no model; did you mean')


def test_prefix_of_a_checksum_is_said(zoo, quick, released_file, capsys):
    digest = file_sha256(released_file)
    for known, words in ((digest[:12], 'only the first 12 digits are known, and agree'), (None, 'none is known')):
        zoo(SHA256=known)
        _, checkpoint = model_zoo.fetch(NAME)
        assert f'SHA-256 {digest}; {words}' in capsys.readouterr().err
    assert checkpoint.name.startswith(f'{NAME}-unchecked-')


@pytest.mark.parametrize('change', [{'SHA256': '4ca8f5fa81db'}, {'Size': 77}])
def test_wrong_file_is_removed(change, zoo, hub):
    folder = zoo(**change)
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=rf'{NAME}: caris\+\.pth has \d+ bytes and SHA-256 .*expected .*removed'
        ):
            model_zoo.fetch(NAME)
        assert not [*folder.glob('hub/**/*.pth'), *folder.glob('hub/**/blobs/*')]
    assert content_requests(hub) == [0, 0]
    assert not list((folder / 'home').glob('*.pth*'))


def test_a_broken_download_resumes(zoo, quick, hub, capsys):
    hub.breaks_after = 3 << 20
    with pytest.raises(ConnectionError, match=r'caris\+\.pth of them/weights at .*broke off .*call again to resume it'):
        model_zoo.fetch(NAME)
    hub.breaks_after = None
    model_zoo.fetch(NAME)
    begins = content_requests(hub)
    assert begins[0] == 0 and 1 << 20 < begins[-1] <= 3 << 20
    assert capsys.readouterr().err.count('terms') == 1


@pytest.mark.parametrize('place', ['them/weights/resolve/main/gone.pth', 'they/moved/resolve/main/a.pth'])
def test_not_on_the_hub(place, zoo):
    zoo(Weights=f'https://hub/{place}')
    with pytest.raises(CheckpointError, match=f'{Path(place).name} of {place[:7]}.*: not there'):
        model_zoo.fetch(NAME)


def test_no_network(zoo, monkeypatch):
    template = 'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}'  # nobody listens
    monkeypatch.setattr(file_download, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    with pytest.raises(ConnectionError, match='cannot be reached; check the network, the proxy and HF_ENDPOINT'):
        model_zoo.fetch(NAME)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(ConnectionError, match='HF_HUB_OFFLINE is set'):
        model_zoo.fetch(NAME)


def test_full_disk(zoo, released_file, monkeypatch):
    """/dev/full has no space: first for the download, then for what it is converted to."""
    folder = zoo()
    blobs = folder / 'hub/models--them--weights/blobs'
    blobs.mkdir(parents=True)
    (blobs / f'{file_sha256(released_file)}.incomplete').symlink_to('/dev/full')
    with pytest.raises(OSError, match=r'cannot be written to .*hub \(.*No space left on device.*HF_HOME'):
        model_zoo.fetch(NAME)
    (blobs / f'{file_sha256(released_file)}.incomplete').unlink()
    converted = model_zoo.find_model(NAME).converted
    converted.parent.mkdir(exist_ok=True)
    monkeypatch.setattr('mmmagnet.utils.io.secrets.token_hex', lambda size: 'full')
    part = converted.with_name(f'{converted.name}.full.part')
    part.symlink_to('/dev/full')
    with pytest.raises(OSError, match=r'cannot be written, is the disk full\? \(.*No space left on device'):
        model_zoo.fetch(NAME)
    assert not list(converted.parent.glob('*.p*'))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('caris_swin_b_refcoco', f'no file and no model; did you mean {NAME}'),
        ('zzz', 'no file and no model; tools/infer.py --list-models'),
        ('', 'no file and no model'),
        ('caris_swin-b_refcoco+', f'no weights are known that can be downloaded, only those of {NAME}$'),
    ],
)
def test_no_such_name(name, message, zoo, hub):
    with pytest.raises(CheckpointError, match=message):
        model_zoo.fetch(name)
    assert hub.asked == []


def test_file_of_another_method(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(model_zoo, '_download', lambda model: tmp_path / 'other.pth')
    torch.save({'model': {'image_model.x': torch.zeros(1)}}, tmp_path / 'other.pth')
    zoo(SHA256=None, Size=None)
    with pytest.raises(CheckpointError, match=r'other\.pth: holds a network of magnet, expected one of caris'):
        model_zoo.fetch(NAME)


@pytest.mark.parametrize(
    ('text', 'is_name'),
    [
        ('magnet_swin-b_refcoco+', True),
        ('magnet_swin-b', True),
        ('epoch_3.pth', False),
        ('work_dirs/epoch_3', False),
        ('here', False),
        (Path('magnet'), False),
        (None, False),
    ],
)
def test_names(text, is_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'here').touch()
    assert model_zoo.is_model_name(text) is is_name


def test_home(monkeypatch):
    model = model_zoo.list_models()[0]
    for names, folder in (
        ({'XDG_CACHE_HOME': '/x'}, Path('/x/mmmagnet')),
        ({'XDG_CACHE_HOME': '/x', 'MMMAGNET_HOME': '~/m'}, Path.home() / 'm'),
        ({}, Path.home() / '.cache/mmmagnet'),
    ):
        for name in ('XDG_CACHE_HOME', 'MMMAGNET_HOME'):
            monkeypatch.delenv(name, raising=False)
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        assert model.converted.parent == folder


def test_models_of_the_metafiles():
    """What is known of the released files, and the configs of their networks."""
    models = {model.name.removeprefix('magnet_swin-b_'): model for model in model_zoo.list_models()}
    assert {name: (model.filename, model.sha256, model.size) for name, model in models.items()} == {
        'refcoco': ('magnet_refcoco.pth', '4ca8f5fa81db', None),
        'refcoco+': ('magnet_refcoco+.pth', 'ef037f99d679', 1192364731),
        'refcocog-umd': ('magnet_refcocog_umd.pth', '4bda67acedc6', 1192353659),
        'refcocog-google': ('magnet_refcocog_google.pth', 'cc4a45f06f85', 1192353659),
        'mixed': ('magnet_all.pth', '', None),
    }
    for model in models.values():
        assert (model.repository, model.revision, model.kind) == ('yxchng/magnet_weights', 'main', 'magnet')
        assert model.licence.startswith('AGPL-3.0')
        config = load_config(model.config)
        assert config.model.neck.official_compat
        (scale,) = [step.scale for step in config.test_pipeline if step.type == 'Resize']
        assert model.image_size == '{} x {}'.format(*scale)
