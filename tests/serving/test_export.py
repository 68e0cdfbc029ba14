"""Laws of served models: files and pictures are tfcodec's, and nothing brings a server down."""

import base64
import concurrent.futures
import contextlib
import dataclasses
import http.server
import io
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
import tiny_exports
from drawn import as_png
from PIL import Image
from served import check_same, decode, encode, pixels, png_pixels, run_host

from tfcodec import codec, pictures
from tfcodec.coding.container import pack, unpack
from tfcodec.commands import main as cli
from tfcodec.errors import InputError, TfcodecError
from tfcodec.exports import installed, weights
from tfcodec.serving import export
from tfcodec.serving.signatures import Server

HERE = pathlib.Path(__file__).parents[1]
MAX_PIXELS = 128 * 128


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """(`tfcodec export` of a small model for servers, its exit status, what it printed)"""
    folder = tmp_path_factory.mktemp("models")
    info = tiny_exports.tiny_export(str(folder / "tiny"), lambdas=(0.001, 0.2))
    arguments = ["export", info.path, "-o", str(folder / "served")]
    arguments += ["--max_pixels", str(MAX_PIXELS), "--max_turns", "700"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = cli.main(arguments)
    return arguments, status, printed.getvalue()


@pytest.fixture(scope="module")
def tiny(command):
    """(codec of a small model, folder of its export for servers)"""
    _, path, _, folder, *_ = command[0]
    return codec.Codec(installed.read_info(path)), folder


@pytest.fixture(scope="module")
def signatures(tiny):
    return tf.saved_model.load(os.path.join(tiny[1], "1")).signatures


@pytest.mark.parametrize("quality", [1.0, 4.25, 8.0])
def test_files_and_pictures_are_those_of_tfcodec(tiny, signatures, quality):
    check_same(tiny[0], signatures, quality, quality)


def test_a_model_of_one_step_and_one_rate_is_served_too(tmp_path, signatures):
    there = codec.Codec(
        tiny_exports.tiny_export(str(tmp_path), "bmshj2018", "factorized-compact", lambdas=(0.01,))
    )
    server = Server(there, MAX_PIXELS, 2**19, False)
    check_same(there, {"encode": server.encode, "decode": server.decode}, None, 0.0)
    outputs = server.encode(tf.constant([as_png(pixels(0))]), tf.constant([5.0]))
    assert outputs["error"].numpy() == [b"the model has one rate; quality must be 0"]

    data = there.encode(pictures.from_array(pixels(0)), lanes=2).data
    ((_, error),) = decode(signatures, data)
    assert error.startswith(b"was written by a model with another fingerprint")


@pytest.mark.parametrize("lanes", [1, 2, 64, 1024])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_server_decodes_what_tfcodec_wrote(tiny, signatures, lanes, channels):
    there = tiny[0]
    picture = pictures.from_array(pixels(channels, channels=channels))
    file = there.encode(picture, 8, lanes=lanes).data
    ((shown, error),) = decode(signatures, file)
    assert error == b""
    np.testing.assert_array_equal(png_pixels(shown), pictures.to_array(there.decode(unpack(file))))


def test_the_server_passes_over_metadata(tiny, signatures):
    there, picture = tiny[0], pictures.from_array(pixels(0, channels=4))
    told = dataclasses.replace(picture, metadata=pictures.Metadata(b"EXIF", b"<x/>"))
    plain, kept = (there.encode(p, keep_metadata=True, lanes=8).data for p in (picture, told))
    assert unpack(kept).metadata and not unpack(plain).metadata
    assert decode(signatures, kept) == decode(signatures, plain)


KINDS = {
    "gray": lambda rgba: Image.fromarray(rgba[..., 0]),
    "gray and alpha": lambda rgba: Image.fromarray(rgba[..., :2], "LA"),
    "RGB": lambda rgba: Image.fromarray(rgba[..., :3]),
    "RGB and alpha": lambda rgba: Image.fromarray(rgba),
    "palette": lambda rgba: Image.fromarray(rgba[..., :3]).quantize(100),
    "two colours": lambda rgba: Image.fromarray(rgba[..., 0] > 128),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_is_taken_as_tfcodec_takes_it(tiny, signatures, tmp_path, kind):
    path = tmp_path / "picture.png"
    # Nothing is quite hidden: colours under alpha 0 are tfcodec's to choose.
    path.write_bytes(as_png(KINDS[kind](np.maximum(pixels(5, channels=4), 1))))
    there = tiny[0].encode(pictures.read(path), lanes="serving").data
    ((file, error),) = encode(signatures, path.read_bytes())
    assert error == b""
    ours, theirs = unpack(file), unpack(there)
    assert (ours.gray, ours.checksum) == (theirs.gray, theirs.checksum)
    shown = [pictures.to_array(tiny[0].decode(file)) for file in (ours, theirs)]
    np.testing.assert_array_equal(*shown)
    assert file == there or ours.alpha is not None  # PNG encoders differ


def test_a_jpeg_is_taken(tiny, signatures):
    smooth = np.uint8(np.add.outer(np.arange(100), np.arange(90))[..., None] * [1.0, 0.5, 0.2])
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95, subsampling=0)
    ((file, error),) = encode(signatures, buffer.getvalue())
    assert error == b"" and unpack(file).height == 100
    buffer.truncate(400)
    assert encode(signatures, buffer.getvalue())[0][1] == b"the picture is damaged or truncated"


REFUSED_PICTURES = {
    "not a PNG or JPEG": b"BM" + bytes(100),
    "the picture is damaged or truncated": as_png(pixels(0))[:-200],
    "the picture has 300x200 pixels, at most 16384 are taken": as_png(pixels(0, 200, 300)),
    "the PNG has 16-bit samples": as_png(np.uint16(pixels(0)[..., 0]) * 257),
    "the PNG has a transparent colour": as_png(pixels(0)[..., 0], transparency=7),
    "at most 262144 are taken": b"\x89PNG" + bytes(300_000),
}


@pytest.mark.parametrize("sentence", REFUSED_PICTURES)
def test_a_bad_picture_is_a_sentence_and_fails_no_other(signatures, sentence):
    good = as_png(pixels(1))
    first, bad, last = encode(signatures, good, REFUSED_PICTURES[sentence], good)
    assert bad[0] == b"" and sentence in bad[1].decode()
    assert first == last == encode(signatures, good)[0] and first[1] == b""


@pytest.mark.parametrize("quality", [0.5, 8.01, float("nan"), float("inf"), -1.0])
def test_a_quality_out_of_range_names_the_range(signatures, quality):
    ((_, error),) = encode(signatures, as_png(pixels(0)), quality=quality)
    assert error.startswith(b"quality is from 1 to 8, or 0 for the model's default, not ")


def test_the_single_forms_answer_the_same_or_raise_the_sentence(tiny, signatures):
    ((file, _),) = encode(signatures, as_png(pixels(1)), quality=3.0)
    one = signatures["encode_one"](
        images_bytes=tf.constant(as_png(pixels(1))), quality=tf.constant(3.0)
    )
    assert one["files_bytes"].numpy() == file
    shown = signatures["decode_one"](files_bytes=tf.constant(file))["png_bytes"].numpy()
    assert shown == decode(signatures, file)[0][0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="its CRC-32 does not match"):
        signatures["decode_one"](files_bytes=tf.constant(file[:-1] + b"?"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a PNG or JPEG"):
        signatures["encode_one"](images_bytes=tf.constant("?"), quality=tf.constant(0.0))


def test_limits_are_refused_in_a_sentence(tiny, signatures):
    large = tiny[0].encode(pictures.from_array(pixels(0, 200, 300))).data
    slow = tiny[0].encode(pictures.from_array(pixels(0, 120, 130))).data
    fast = tiny[0].encode(pictures.from_array(pixels(0, 120, 130)), lanes=16).data
    errors = [error.decode() for _, error in decode(signatures, large, slow, fast)]
    assert errors[0] == "claims 300x200 pixels, at most 16384 are taken"
    assert errors[1].startswith("its 1 lanes need ") and errors[1].endswith("with more lanes")
    assert errors[2] == ""


def mutations(tiny, count):
    """Damaged and forged files, every second one with a sound CRC."""
    from mutations import mutate, with_valid_checksum

    random = np.random.RandomState(2)
    noise = random.randint(0, 256, [32, 32, 4]).astype(np.uint8)
    files = [
        tiny[0].encode(pictures.from_array(np.uint8(noise[..., :3] > 127) * 255), 8, lanes=4).data,
        tiny[0].encode(pictures.from_array(noise), 4, lanes=16).data,
        tiny[0].encode(pictures.from_array(noise[..., 0]), 2, lanes=2).data,
    ]
    assert unpack(files[0]).escapes
    for number in range(count):
        data = mutate(random, files[number % len(files)])
        yield with_valid_checksum(data) if number % 2 else data


def test_the_server_refuses_what_tfcodec_refuses_and_nothing_else(tiny, signatures):
    files = list(mutations(tiny, 300))
    refused = set()
    for start in range(0, len(files), 30):
        batch = files[start : start + 30]
        for data, (shown, error) in zip(batch, decode(signatures, *batch), strict=True):
            try:
                picture = tiny[0].decode(unpack(data, "k", MAX_PIXELS), "k")
            except TfcodecError as refusal:
                assert error and not shown, f"served what is refused: {refusal}"
                refused.add(error.decode().split()[0])
            else:
                assert not error, error
                np.testing.assert_array_equal(png_pixels(shown), pictures.to_array(picture))
    assert len(refused) > 8


def test_damaged_alpha_is_refused(tiny, signatures):
    import dataclasses

    container = unpack(tiny[0].encode(pictures.from_array(pixels(0, channels=4)), lanes=2).data)
    alpha = container.alpha
    text = b"\0\0\0\x03tEXta\0b" + (0x13F43F2C).to_bytes(4, "big")
    damaged = [
        alpha[:-1],
        alpha + b"\0",
        alpha[:33] + text + alpha[33:],
        pictures.alpha_to_png(pixels(0, 40, 70, 1)),
        alpha[:50] + b"???" + alpha[53:],
        alpha[:24] + b"\x10" + alpha[25:],
    ]
    files = [pack(dataclasses.replace(container, alpha=a)) for a in (*damaged, alpha)]
    errors = [error.decode() for _, error in decode(signatures, *files)]
    assert all(error.startswith("the alpha part ") for error in errors[:-1]), errors
    assert errors[-1] == ""


def test_the_served_model_needs_tensorflow_alone(tiny):
    run_host([tiny], pixels(0))
    there, folder = tiny
    file, shown = ((pathlib.Path(folder) / part).read_bytes() for part in ("p.tfcd", "p.there"))
    np.testing.assert_array_equal(png_pixels(shown), there.decode(unpack(file)).rgb)


def test_the_folder_is_an_export_too(tiny):
    there, folder = tiny
    served = codec.Codec(installed.read_info(folder))
    assert served.info.fingerprint == there.info.fingerprint
    picture = pictures.from_array(pixels(0))
    assert served.encode(picture, 3).data == there.encode(picture, 3).data
    for name, weight in weights.read_weights(there.info.path).items():
        np.testing.assert_array_equal(weights.read_weights(folder)[name], weight)


def test_a_server_leaves_the_models_description_as_it_was(tiny):
    there, _ = tiny
    Server(there, 128 * 128, 2**22, False)
    assert type(there.info.config["config"]) is dict
    assert type(there.info.config["lambdas"]) is list


def test_warm_up_and_configs_are_what_tf_serving_reads(tiny, signatures):
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serve`")
    from google.protobuf import text_format
    from tensorflow_serving.apis import prediction_log_pb2
    from tensorflow_serving.config import model_server_config_pb2

    folder = pathlib.Path(tiny[1])
    names = []
    for record in tf.data.TFRecordDataset(str(folder / "1" / export.WARMUP)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "tiny"
        names.append(request.model_spec.signature_name)
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        outputs = signatures[names[-1]](**{key: tf.constant(v) for key, v in inputs.items()})
        assert outputs["error"].numpy().tolist() == [b""]
    assert names == ["encode", "decode"]
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (
        *("tiny", "/models/tiny", "tensorflow"),
    )
    batching = (folder / "batching.config").read_text()
    assert "max_batch_size { value: 4 }" in batching and "allowed_batch_sizes" not in batching


@pytest.fixture(scope="module")
def service(tiny):
    """(process, stub) of a PredictionService in front of the served model."""
    grpc = pytest.importorskip("grpc", reason="needs the extra `serve`")
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serve`")
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    command = [sys.executable, str(HERE / "prediction_service.py"), os.path.join(tiny[1], "1")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = process.stdout.readline().strip()
    assert port, "the service did not start"
    process.address = f"localhost:{port}"
    with grpc.insecure_channel(process.address) as channel:
        yield process, prediction_service_pb2_grpc.PredictionServiceStub(channel)
    process.stdin.close()
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()


def run_example(script, *arguments):
    command = [sys.executable, str(HERE.parent / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_the_grpc_client_asks_and_tells(tiny, service, tmp_path):
    source, file = tmp_path / "p.png", tmp_path / "p.tfcd"
    source.write_bytes(as_png(pixels(0)))
    server = ("--server", service[0].address)
    run = run_example("serve_grpc.py", "encode", source, file, "--quality", "3", *server)
    assert run.returncode == 0, run.stderr
    expected = tiny[0].encode(pictures.from_array(pixels(0)), 3, lanes="serving").data
    assert file.read_bytes() == expected
    run = run_example("serve_grpc.py", "decode", source, tmp_path / "q.png", *server)
    assert run.returncode == 1 and f"{source}: not a tfcodec file" in run.stderr
    assert not (tmp_path / "q.png").exists()


class Rest(http.server.BaseHTTPRequestHandler):
    """TF Serving's REST interface in row format, in front of `signatures`."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        inputs = {}
        for name in body["instances"][0]:
            values = [row[name] for row in body["instances"]]
            if name.endswith("_bytes"):
                values = [base64.b64decode(value["b64"]) for value in values]
            inputs[name] = tf.constant(values)
        outputs = self.server.signatures[body["signature_name"]](**inputs)
        rows = []
        for values in zip(*(output.numpy() for output in outputs.values()), strict=True):
            row = dict(zip(outputs, values, strict=True))
            rows.append({name: self.text(name, value) for name, value in row.items()})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"predictions": rows}).encode())

    @staticmethod
    def text(name, value):
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode()

    def log_message(self, *_):
        pass


def test_the_rest_client_asks_and_tells(tiny, signatures, tmp_path):
    server = http.server.HTTPServer(("localhost", 0), Rest)
    server.signatures = signatures
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = ("--server", f"http://localhost:{server.server_port}")
        source, file = tmp_path / "p.png", tmp_path / "p.tfcd"
        source.write_bytes(as_png(pixels(0)))
        run = run_example("serve_rest.py", "encode", source, file, "--quality", "3", *address)
        assert run.returncode == 0, run.stderr
        expected = tiny[0].encode(pictures.from_array(pixels(0)), 3, lanes="serving").data
        assert file.read_bytes() == expected
        run = run_example("serve_rest.py", "decode", source, tmp_path / "q.png", *address)
        assert run.returncode == 1 and f"{source}: not a tfcodec file" in run.stderr
    finally:
        server.shutdown()
        server.server_close()


def resident(pid):
    """MiB of memory of a process."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def test_200_good_and_200_bad_requests_at_once(tiny, service):
    """All good ones are answered right, all bad ones refused with a reason, in mixed batches; the
    process lives, and what it has learned by half-time it needs no more memory for."""
    from tensorflow_serving.apis import predict_pb2

    process, stub = service
    goods, expected = [], []
    for seed in range(5):
        picture = pictures.from_array(pixels(seed, 48 + 7 * seed, 70, 3 + seed % 2))
        goods.append(tiny[0].encode(picture, 4, lanes="serving").data)
        expected.append(pictures.to_array(tiny[0].decode(unpack(goods[-1]))))
    bads = [b"", b"nonsense", goods[0][:-7], goods[1] + b"\0", goods[2][:40] + b"?" + goods[2][41:]]

    def ask(number):
        data = (goods if number % 2 else bads)[number // 2 % 5]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "tiny"
        request.inputs["files_bytes"].CopyFrom(tf.make_tensor_proto([data]))
        outputs = stub.Predict(request, timeout=120).outputs
        return number, *(tf.make_ndarray(outputs[key])[0] for key in ("png_bytes", "error"))

    answers, memory = [], []
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for half in range(2):
            answers += pool.map(ask, range(200 * half, 200 * half + 200))
            memory.append(resident(process.pid))
    assert process.poll() is None and len(answers) == 400
    for number, shown, error in answers:
        if number % 2:
            assert error == b""
            np.testing.assert_array_equal(png_pixels(shown), expected[number // 2 % 5])
        else:
            assert error and not shown
    assert memory[1] < memory[0] + 50, memory


def test_the_command_exports_and_encodes_for_servers(tiny, command, tmp_path, capsys):
    arguments, status, printed = command
    assert status == 0 and "signatures decode, encode" in printed
    limits = {"max_pixels": MAX_PIXELS, "max_turns": 700, "xla": False}
    assert installed.read_info(tiny[1]).config["serving"] == limits
    assert cli.main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    picture, file = tmp_path / "p.png", tmp_path / "p.tfcd"
    picture.write_bytes(as_png(pixels(0, 640, 640)))
    encode = ["encode", str(picture), "-o", str(file), "--model", tiny[0].info.path]
    assert cli.main([*encode, "--profile", "serving"]) == 0
    assert len(unpack(file.read_bytes()).streams) == 2
    assert cli.main([*encode, "--profile", "serving", "--coder", "range-coder"]) == 2


def test_a_folder_that_exists_is_not_touched(tiny, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        export.export(tiny[0].info, str(tmp_path))
    assert not list(tmp_path.iterdir())
