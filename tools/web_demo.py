"""Segment an image in the browser: upload or paste it, type expressions, see masks and what each word looks at.

Example:
    pip install '.[demo]'
    python tools/web_demo.py work_dirs/quickstart/epoch_1.pth --examples data/synthetic_quickstart/images
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_FILE = '20mb'
MAX_PIXELS = 40_000_000
MAX_SIDE = 1600  # pixels, to which an upload is reduced before it is segmented
MAX_EXPRESSIONS = 10
MAX_LETTERS = 2000
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Segment an image in the browser.')
    parser.add_argument('models', nargs='+', metavar='MODEL', help='checkpoints, or names of models; one can be chosen')
    parser.add_argument('--examples', metavar='DIR', help='folder whose first images are shown as examples')
    parser.add_argument('--example-text', default='the red circle', help='expression of the examples')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=int, default=7860, help='port to listen on')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    return parser.parse_args(argv)


class Segmenter:
    """The models of the demo, loaded when they are first chosen; one request runs at a time.

    Args:
        names: Checkpoints, or names of models.
        load: What makes an inferencer of one.
    """

    def __init__(self, names: list[str], load: Callable[[str], Any]) -> None:
        self.names, self.load = names, load
        self.loaded: tuple[str, Any] | None = None  # one: each may fill the memory
        self.lock = threading.Lock()

    def __call__(self, name: Any, file: Path | None, text: Any) -> tuple[list[Any], list[list[Any]], Any]:
        """Overlays, a table and the attention of the first expression's words.

        Args:
            name: One of the models; anything, as the request has it.
            file: The image.
            text: An expression in each line; anything.

        Returns:
            Overlays (image, caption), rows (expression, score, per cent of the image), figure of the words.

        Raises:
            DataError: If there is no such model, no whole image or no expression, or too much of either.
        """
        from PIL import Image

        from mmmagnet.utils.errors import DataError
        from mmmagnet.utils.images import read_image

        if name not in self.names:
            raise DataError('choose one of the models of the list')
        if file is None:
            raise DataError('upload or paste an image first')
        lines = text.splitlines() if isinstance(text, str) else []
        expressions = [line.strip() for line in lines if line.strip()]
        if not expressions:
            raise DataError('type what to segment, an expression in each line')
        if len(expressions) > MAX_EXPRESSIONS or len(text) > MAX_LETTERS:
            raise DataError(f'give at most {MAX_EXPRESSIONS} expressions and {MAX_LETTERS} letters')
        image = Image.fromarray(read_image(file))
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        with self.lock:
            if self.loaded is None or self.loaded[0] != name:
                self.loaded = None
                self.loaded = (name, self.load(name))
            inferencer = self.loaded[1]
            results = inferencer(image, expressions)
            words = draw_words(inferencer, results[0])
        return (
            [(result.draw(), result.expression) for result in results],
            [
                [result.expression, result.score and round(result.score, 2), round(100 * result.area_fraction, 1)]
                for result in results
            ],
            words,
        )


def draw_words(inferencer: Any, result: Any) -> Any:
    """Heat maps of a result's words in every fusion stage, RGB; None of a network without word attention."""
    from mmmagnet.apis.explain import pack_sample, tokens_of, word_attention
    from mmmagnet.visualization.explanations import draw_word_attention, figure_pixels

    sample = pack_sample(inferencer.pipeline, result.image, result.expression)
    attention = word_attention(inferencer.model, sample)
    if attention is None:
        return None
    words, _ = tokens_of(inferencer.pipeline, sample)
    return figure_pixels(draw_word_attention(result.image, words, attention.cpu().numpy()))


def build_page(segmenter: Segmenter, examples: list[list[str]]) -> Any:
    """The page, a `gradio.Blocks`."""
    import gradio

    from mmmagnet.utils.errors import CheckpointError, ConfigError, DataError

    uploads = Path(gradio.utils.get_upload_folder()).resolve()

    def answer(name: Any, image: Any, text: Any) -> tuple[list[Any], list[list[Any]], Any]:
        path = image.get('path') if isinstance(image, dict) else None
        file = None
        try:
            if isinstance(path, str) and path:
                file = Path(path).resolve()
                if not file.is_relative_to(uploads):  # Gradio lets through what has no `meta`
                    raise DataError('upload the image itself, not its path')
            return segmenter(name, file, text)
        except (DataError, CheckpointError, ConfigError, OSError, ValueError) as error:
            message = str(error).replace(f'{file.parent}{os.sep}', '') if file else str(error)  # a folder of Gradio's
            raise gradio.Error(message, duration=10, print_exception=False) from error

    async def download(*_: Any, **__: Any) -> str:
        raise gradio.Error('upload the image itself, not its address', print_exception=False)

    gradio.processing_utils.async_ssrf_protected_download = download  # it would fetch a file of any size

    with gradio.Blocks(title='mmmagnet', analytics_enabled=False, delete_cache=(600, 600)) as page:
        gradio.Markdown('# mmmagnet\nUpload or paste an image, and say what to segment: an expression in each line.')
        with gradio.Row():
            with gradio.Column():
                model = gradio.Dropdown(segmenter.names, value=segmenter.names[0], label='Model')
                image = gradio.Image(sources=['upload', 'clipboard'], label='Image', height=360, elem_id='image')
                text = gradio.Textbox(
                    label='Expressions', lines=2, max_lines=10, max_length=MAX_LETTERS, elem_id='expressions'
                )
                button = gradio.Button('Segment', variant='primary', elem_id='segment')
            with gradio.Column():
                masks = gradio.Gallery(label='Masks', columns=1, height=640, object_fit='contain', elem_id='masks')
                scores = gradio.Dataframe(
                    headers=['expression', 'score', '% of the image'], interactive=False, elem_id='scores'
                )
        gradio.Markdown(
            'How much each place of the image reads from each word of the first expression, stage by stage:'
        )
        words = gradio.Image(show_label=False, elem_id='words')
        inputs, outputs = [model, image, text], [masks, scores, words]
        # what the request says arrives as it is: Gradio would decode EPS by a program, and clip 16 bits
        gradio.on([button.click, text.submit], answer, inputs, outputs, preprocess=False, api_name='segment')
        if examples:
            gradio.Examples(examples, [image, text], cache_examples=False)
    page.queue(max_size=32, default_concurrency_limit=1, api_open=False)  # nobody passes the queue
    send = page._queue.send_message

    def send_message(*event_and_message: Any) -> None:
        with suppress(KeyError):  # of a session that has no name or has left; it would stop the queue for all
            send(*event_and_message)

    page._queue.send_message = send_message
    return page


def serve(args: argparse.Namespace) -> None:
    """Load the first model and open the page; returns when it is interrupted."""
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    os.environ.pop('GRADIO_TEMP_DIR', None)  # uploads go to our temporary folder, which is deleted
    from PIL import Image

    from mmmagnet.apis import ReferringInferencer
    from mmmagnet.utils.errors import ConfigError

    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ConfigError("tools/web_demo.py needs gradio: pip install '.[demo]'") from error
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice as many
    names = list(dict.fromkeys(args.models))
    segmenter = Segmenter(names, lambda name: ReferringInferencer(name, device=args.device))
    segmenter.loaded = (names[0], segmenter.load(names[0]))  # a wrong name ends it before the page opens
    examples = []
    if args.examples:
        files = sorted(file for file in Path(args.examples).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        examples = [[str(file), args.example_text] for file in files[:4]]
    page = build_page(segmenter, examples)
    shown = [file for file, _ in examples]
    page.launch(server_name=args.host, server_port=args.port, max_file_size=MAX_FILE, allowed_paths=shown, share=False)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import end_on_sigterm, run_command

    def command() -> int:
        end_on_sigterm()
        with tempfile.TemporaryDirectory(prefix='mmmagnet_', ignore_cleanup_errors=True) as folder:
            tempfile.tempdir = folder  # of uploads, and of those refused, which Gradio leaves there
            try:
                serve(args)
            finally:
                tempfile.tempdir = None
        return 0

    return run_command(command)


if __name__ == '__main__':
    sys.exit(main())
