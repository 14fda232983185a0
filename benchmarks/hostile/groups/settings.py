"""Invalid and mistyped settings."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ..base import CLASSIFY_NEW, TRAIN_NEW
from ..case import Case

GROUP = "setting"
CHOICES = ("loss", "optim", "data", "model", "noise", "augmentation")
FORMS = ("~{}", "{}@x=ce", "{}@=ce", "{}=", "{}=null", "{}=[ce,gce]", "{}={{a:1}}", "{}=../ce", "+{}=ce", "~{}=ce")

# Words are single settings.
BOTH = """
    = =ce ~ + @ a=b=c 'loss=ce' +a.b=1 hydra=1 defaults=[] task=1 preset=[small] loss=forward
    ~loss=anl_ce loss.name=null +loss.reduction=none +loss.activation=sigmoid
    seed=[1,1] seed=${seed} seed={a:1} epochs=1e999 batch_size=1000000 workers=100000 precision=null record={}
    ~optim.lr optim.lr=nan optim.lr=1e300 optim.lr={} optim.milestones=[3,2]
    run_dir=[a] run_root='' run_dir=~nobody/x device=meta device=cuda:99 device=[]
""".split()
BOTH += ["", f"run_dir={'x' * 300}", "data.root=ü b", "run_dir=a\0b"]

# Each line is a combination of settings.
SEGMENTATION = """
    model.base_filters=1000000
    model.stages=[]
    model=own model._target_=os.getcwd
    model=monai model.network=os.system
    model=monai model.network=UNet +model.channels=[8192,8192] +model.strides=[2]
    data.size=[16]
    data.size=8193
    data.size=[16,4096]
    data.classes=0
    loss=forward loss.transition=x
    loss=forward loss.transition=[[1]]
    noise.alpha=nan
    noise.kinds=[x]
""".strip().splitlines()

# Parameters for which a loss is undefined or close to numerical limits.
LOSSES = """
    gce.q=1e-300 ael.a=1e-300 agce.a=1e30 el.epsilon=1e300 ce_sr.tau=1e-300 nfl.gamma=1e4 taylor_ce.t=1000000
    t_loss.nu=1e300 anl_ce.alpha=nan
""".split()


def cases(rng: random.Random) -> Iterator[Case]:
    products = [form.format(choice) for choice in CHOICES for form in FORMS]
    for word in (*products, *BOTH):
        for words in (TRAIN_NEW, CLASSIFY_NEW):
            yield Case(GROUP, f"{words[0]} {word[:40]}", [*words, word])
    for line in SEGMENTATION:
        yield Case(GROUP, line.strip()[:60], [*TRAIN_NEW, *line.split()])
    for text in LOSSES:
        loss, setting = text.split(".", 1)
        yield Case(GROUP, text, [*CLASSIFY_NEW, f"loss={loss}", f"loss.{setting}"])
