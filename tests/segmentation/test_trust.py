"""A run directory from elsewhere is data: whatever its configuration names, predicting with it runs none of it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from seg_anl.records import UserError
from seg_anl.segmentation import predict
from seg_anl.segmentation.networks import build_model
from seg_anl.segmentation.settings import DataSettings

MODULE = "seg_anl_canary"
EXECUTIONS = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
}
watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watched is not None and (event in EXECUTIONS or (event == "import" and arguments[0] == MODULE)):
        watched.append(event)


sys.addaudithook(_watch)


class Canary:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that whatever is executed would write; with a module, a script and pickles that write it."""
    mark = tmp_path / "executed"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    (tmp_path / f"{MODULE}.py").write_text(
        code + "def run(*a, **k): pathlib.Path('x')\nclass Net: pass\nCustomFormatter = Net\n"
    )
    (tmp_path / "pickled").write_bytes(pickle.dumps(Canary(mark)))
    torch.save({"schema": 1, "model": Canary(mark)}, tmp_path / "pickled.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


def callables(mark: Path) -> list[dict[str, Any]]:
    """Nodes as Hydra would instantiate them: each executes something."""
    folder, touch = mark.parent, ["touch", str(mark)]
    text, code = " ".join(touch), f"__import__('pathlib').Path({str(mark)!r}).touch()"
    script = str(folder / f"{MODULE}.py")
    pairs: list[tuple[str, list[Any]]] = [
        *(
            (name, [text])
            for name in ("os.system", "posix.system", "os.popen", "subprocess.getoutput", "platform.os.system")
        ),
        *((f"subprocess.{name}", [touch]) for name in ("run", "call", "check_call", "check_output", "Popen")),
        *(
            (name, [code])
            for name in ("builtins.eval", "builtins.exec", "sympy.sympify", "timeit.timeit", "pandas.eval")
        ),
        *(
            (name, [MODULE])
            for name in ("importlib.import_module", "builtins.__import__", "pydoc.locate", "runpy.run_module")
        ),
        ("runpy.run_path", [script]),
        ("os.execvp", touch),
        ("os.spawnvp", [0, "touch", touch]),
        ("pty.spawn", [touch]),
        ("multiprocessing.Process", []),
        *((f"{name}.spawn.spawn", [touch]) for name in ("distutils", "setuptools._distutils")),
        ("setuptools._distutils.core.run_setup", [script]),
        ("pygments.formatters.load_formatter_from_file", [script]),
        ("pygments.lexers.load_lexer_from_file", [script]),
        *(
            (name, [str(folder / "pickled")])
            for name in (
                "pandas.read_pickle",
                "joblib.load",
                "batchgenerators.utilities.file_and_folder_operations.load_pickle",
            )
        ),
        ("numpy.load", [str(folder / "pickled"), None, True]),
        ("torch.load", [str(folder / "pickled.pt"), None, None]),
        ("torch.hub.load", [str(folder), "run", "local"]),
        ("hydra.utils.instantiate", [{"_target_": "os.system", "_args_": [text]}]),
        ("hydra.utils.get_method", [f"{MODULE}.run"]),
        ("omegaconf.OmegaConf.register_new_resolver", ["x", "y"]),
        ("monai.utils.module.instantiate", [f"{MODULE}.Net", "default"]),
        ("monai.bundle.run", ["run"]),
        ("monai.bundle.ConfigParser", [{"a": f"$__import__('{MODULE}')"}]),
        ("monai.networks.nets.dynunet.torch.hub.load", [str(folder), "run"]),
        ("monai.networks.nets.resnet.load_state_dict_from_url", ["file:///x"]),
        ("monai.networks.nets.torch.os.system", [text]),
        ("monai.networks.nets.swin_unetr.__builtins__.eval", [code]),
        ("monai.networks.nets.unet.warnings.sys.modules", []),
        ("seg_anl.segmentation.networks.hydra.utils.instantiate", [{"_target_": f"{MODULE}.run"}]),
        ("code.interact", []),
        ("ctypes.CDLL", [script]),
        ("webbrowser.open", ["file:///"]),
        ("socket.create_connection", [["127.0.0.1", 9]]),
        (f"{MODULE}.run", []),
        (f"{MODULE}.Net", []),
        (f"monai.networks.nets.{MODULE}.Net", []),
        (f"{MODULE}:Net", []),
    ]
    return [{"_target_": target, "_args_": arguments} for target, arguments in pairs]


def models(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A ``model`` group with the node in every place that one could think of."""
    unet = {"name": "monai", "network": "UNet", "channels": [4, 4], "strides": [2]}
    yield from ({"name": name, **node} for name in ("monai", "own", "dynunet", "published", None))
    yield node
    yield {"name": "monai", "network": node["_target_"], "_args_": node["_args_"]}
    yield {"name": "monai", "network": node}
    yield from ({**unet, argument: node} for argument in ("act", "norm", "bias", "channels", "_convert_"))
    yield {**unet, "act": ["relu", {"inplace": node}]}
    yield {**unet, "act": [node["_target_"], {"x": 1}]}
    yield {**unet, "_target_": node["_target_"]}
    yield {"name": "monai", "_target_": "monai.networks.nets.SegResNetDS", "preprocess": node}
    yield {"name": "monai", "_target_": f"monai.networks.nets.UNet/../{node['_target_']}"}
    yield {"name": "dynunet", "base_filters": node, "max_filters": 8}


def test_no_callable_that_a_run_names_is_executed(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    global watched
    run, photo = tmp_path / "run", tmp_path / "photo.png"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.pt").write_bytes((tmp_path / "pickled.pt").read_bytes())
    Image.new("RGB", (32, 32)).save(photo)
    monkeypatch.setattr(
        sys, "argv", ["seg-anl-predict", str(run), str(photo), str(tmp_path / "out"), "--device", "cpu"]
    )
    data = DataSettings(name="folder", size=32)
    watched, tried = [], 0
    try:
        for number, node in enumerate(callables(mark)):
            places = list(models(node))
            for model in places:
                with pytest.raises(UserError) as refusal:
                    build_model(OmegaConf.create(model), data, trusted=False)
                assert "\n" not in str(refusal.value)
            model = places[number % len(places)]  # one of them through the whole command
            config = {"task": "segmentation", "data": {"name": "folder", "size": 32, "classes": 2}, "model": model}
            OmegaConf.save(OmegaConf.create(config), run / "config.yaml")
            with pytest.raises(SystemExit) as leaving:
                predict.main()
            error = capsys.readouterr().err
            assert (leaving.value.code, error.count("\n")) == (2, 1), (model, error)
            tried += len(places)
        found = list(watched)
    finally:
        watched = None
    assert tried > 1000
    assert found == []
    assert not mark.exists()
    assert MODULE not in sys.modules


class Own(nn.Conv2d):
    """Somebody's own network."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)


@pytest.mark.parametrize("trust", [True, False])
def test_a_network_of_ones_own_is_run_where_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trust: bool
) -> None:
    run, photo = tmp_path / "run", tmp_path / "photo.png"
    (run / "checkpoints").mkdir(parents=True)
    model = {"name": "own", "_target_": f"{__name__}.Own"}
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Own.__module__])
    config = {"task": "segmentation", "data": {"name": "folder", "size": 32, "classes": 2}, "model": model}
    OmegaConf.save(OmegaConf.create(config), run / "config.yaml")
    torch.save(
        {"schema": 1, "epoch": 1, "rows": [], "model": Own(2, 3, 2).state_dict()}, run / "checkpoints" / "last.pt"
    )
    Image.new("RGB", (32, 32)).save(photo)
    words = ["seg-anl-predict", run, photo, tmp_path / "out", "--device", "cpu", *["--trust"] * trust]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    if trust:
        predict.main()
        assert (tmp_path / "out" / "photo.png").exists()
    else:
        with pytest.raises(SystemExit):
            predict.main()
        assert "--trust runs it" in capsys.readouterr().err
