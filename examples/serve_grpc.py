"""Asks a TF Serving for a picture or a file over gRPC.

    pip install 'tfcodec[serve]'
    python examples/serve_grpc.py encode photo.png photo.tfcd --quality 4
    python examples/serve_grpc.py decode photo.tfcd photo.png

The server: docs/serving.md. Needs grpcio and tensorflow-serving-api, not tfcodec.
"""

import argparse
import pathlib
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("signature", choices=("encode", "decode"))
    flags.add_argument("source")
    flags.add_argument("target")
    flags.add_argument("--quality", type=float, default=0.0, help="0 for the model's default")
    flags.add_argument("--server", default="localhost:8500")
    flags.add_argument("--model", default="quad-base")
    args = flags.parse_args()

    data = pathlib.Path(args.source).read_bytes()
    if args.signature == "encode":
        inputs = {"images_bytes": tf.constant([data]), "quality": tf.constant([args.quality])}
    else:
        inputs = {"files_bytes": tf.constant([data])}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = args.model
    request.model_spec.signature_name = args.signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))

    # A client takes answers of 4 MB unless told otherwise; PNGs of photographs are larger.
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(args.server, options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = stub.Predict(request, timeout=60).outputs
        except grpc.RpcError as error:
            sys.exit(f"{args.server}: {error.details()}")
    (error,) = tf.make_ndarray(outputs["error"])
    if error:
        sys.exit(f"{args.source}: {error.decode()}")
    name = "files_bytes" if args.signature == "encode" else "png_bytes"
    pathlib.Path(args.target).write_bytes(tf.make_ndarray(outputs[name])[0])


if __name__ == "__main__":
    main()
