"""Downloads published ImageNet weights by name."""

import hashlib
import os
import re
import urllib.request
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile

from ocrnet.errors import UserError
from ocrnet.runtime import progress

_MINDCV = "https://download.mindspore.cn/toolkits/mindcv/"
_OPENMMLAB = "https://download.openmmlab.com/pretrain/third_party/"
URLS = {
    # mindcv (--source mindcv)
    "hrnet_w32": f"{_MINDCV}hrnet/hrnet_w32-cc4fbd91.ckpt",
    "hrnet_w48": f"{_MINDCV}hrnet/hrnet_w48-2e3399cd.ckpt",
    "resnet50": f"{_MINDCV}resnet/resnet50-e0733ab8.ckpt",
    "resnet101": f"{_MINDCV}resnet/resnet101-689c5e77.ckpt",
    # mmsegmentation (--source mmseg)
    "hrnetv2_w18_small": f"{_OPENMMLAB}hrnetv2_w18_small-b5a04e21.pth",
    "hrnetv2_w18": f"{_OPENMMLAB}hrnetv2_w18-00eb2006.pth",
    "hrnetv2_w48": f"{_OPENMMLAB}hrnetv2_w48-d2186c55.pth",
    "resnet50_v1c": f"{_OPENMMLAB}resnet50_v1c-2cccc1ad.pth",
    "resnet101_v1c": f"{_OPENMMLAB}resnet101_v1c-e67eebb6.pth",
}


def fetch(name: str, folder: Path) -> Path:
    """Returns the file of a name of URLS in `folder`; downloads it if it does not exist.

    The eight hexadecimal digits in the file's name are the start of its SHA-256.

    Raises:
        UserError: the download fails, or the SHA-256 is wrong.
    """
    url = URLS[name]
    file = folder / url.rpartition("/")[2]
    if file.is_file():
        return file
    fix = f"Download {url} by other means and give its path."
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with urllib.request.urlopen(url, timeout=30) as answer, NamedTemporaryFile(dir=folder, delete=False) as copy:
            temporary = Path(copy.name)
            size = int(answer.headers.get("Content-Length", 0)) or None
            with progress.bar(total=size, desc=file.name, unit="B", unit_scale=True) as bar:
                while block := answer.read(1 << 20):
                    copy.write(block)
                    digest.update(block)
                    bar.update(len(block))
        expected = re.search(r"-([0-9a-f]{8})\.", file.name)[1]
        if not digest.hexdigest().startswith(expected):
            raise UserError(f"{url}: SHA-256 is {digest.hexdigest()[:8]}..., expected {expected}. {fix}")
        os.replace(temporary, file)
    except (OSError, HTTPException) as error:
        raise UserError(f"{name}: cannot download it ({error}). {fix}") from None
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
    return file
