"""Asks a TF Serving for a picture or a file over REST, with the standard library alone.

    python examples/serve_rest.py encode photo.png photo.tfcd --quality 4
    python examples/serve_rest.py decode photo.tfcd photo.png

The server: docs/serving.md. Base64 makes a third more bytes of each than gRPC.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("signature", choices=("encode", "decode"))
    flags.add_argument("source")
    flags.add_argument("target")
    flags.add_argument("--quality", type=float, default=0.0, help="0 for the model's default")
    flags.add_argument("--server", default="http://localhost:8501")
    flags.add_argument("--model", default="quad-base")
    args = flags.parse_args()

    content = {"b64": base64.b64encode(pathlib.Path(args.source).read_bytes()).decode()}
    if args.signature == "encode":
        instance = {"images_bytes": content, "quality": args.quality}
    else:
        instance = {"files_bytes": content}
    body = {"signature_name": args.signature, "instances": [instance]}
    url = f"{args.server}/v1/models/{args.model}:predict"
    try:
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as response:
            (answer,) = json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error} {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{url}: {error.reason}")
    if answer["error"]:
        sys.exit(f"{args.source}: {answer['error']}")
    name = "files_bytes" if args.signature == "encode" else "png_bytes"
    pathlib.Path(args.target).write_bytes(base64.b64decode(answer[name]["b64"]))


if __name__ == "__main__":
    main()
