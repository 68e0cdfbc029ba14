"""A PredictionService with TF Serving's own protobufs in front of a SavedModel, for tests.

    python prediction_service.py DIR/1      prints its port; ends when its standard input does

It does with requests what TF Serving's batching does: those of one signature that wait together
are joined along their first axis and the outputs split again; an error of the joined call is
everyone's.
Needs TensorFlow, grpcio and tensorflow-serving-api alone.
"""

import concurrent.futures
import queue
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

MOST = 8  # requests in a batch


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, path):
        self.signatures = tf.saved_model.load(path).signatures
        self.waiting = queue.Queue()
        self.batches = []
        threading.Thread(target=self.work, daemon=True).start()

    def Predict(self, request, context):
        name = request.model_spec.signature_name or "serving_default"
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answer = concurrent.futures.Future()
        self.waiting.put((name, inputs, answer))
        try:
            outputs = answer.result()
        except Exception as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def work(self):
        while True:
            batch = [self.waiting.get()]
            while len(batch) < MOST and not self.waiting.empty():
                batch.append(self.waiting.get())
            for name in sorted({name for name, _, _ in batch}):
                self.run(name, [(inputs, answer) for n, inputs, answer in batch if n == name])

    def run(self, name, batch):
        sizes = [len(next(iter(inputs.values()))) for inputs, _ in batch]
        joined = {key: np.concatenate([inputs[key] for inputs, _ in batch]) for key in batch[0][0]}
        try:
            outputs = self.signatures[name](**{k: tf.constant(v) for k, v in joined.items()})
        except Exception as error:
            for _, answer in batch:
                answer.set_exception(error)
            return
        places = np.cumsum(sizes)[:-1]
        parts = {key: np.split(value.numpy(), places) for key, value in outputs.items()}
        for number, (_, answer) in enumerate(batch):
            answer.set_result({key: part[number] for key, part in parts.items()})


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(sys.argv[1]), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    strangers = [m for m in sys.modules if m.startswith(("tfcodec", "tensorflow_compression"))]
    assert not strangers, strangers


if __name__ == "__main__":
    main()
