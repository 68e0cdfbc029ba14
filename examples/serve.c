/* Encodes and decodes pictures with a model that `tfcodec export` wrote, in C, without Python.

       serve encode served/quad-base/1 photo.png photo.tfcd 4
       serve decode served/quad-base/1 photo.tfcd photo.png

   TensorFlow's C API loads the SavedModel and runs a signature of it, as TF Serving does. How to
   build it: docs/serving.md. */

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

/* Bytes that somebody else owns. */
typedef struct {
  const char *data;
  size_t size;
} Bytes;

static noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

/* Ends the program with the sentence of a status, without the nodes that it came through. */
static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) == TF_OK) return;
  const char *message = TF_Message(status);
  fail("%s: %.*s", what, (int)strcspn(message, "\n"), message);
}

/* ---- Which tensors a signature has: four messages of tensorflow/core/protobuf/meta_graph.proto.

   A protobuf message is a row of fields: a varint of number and type, then the content. A map is
   a repeated message of key (1) and value (2). */

enum { SIGNATURES = 5 };          /* of MetaGraphDef, map<string, SignatureDef> */
enum { INPUTS = 1, OUTPUTS = 2 }; /* of SignatureDef, map<string, TensorInfo> */
enum { NAME = 1 };                /* of TensorInfo, as "operation:0" */
enum { KEY = 1, VALUE = 2 };

/* Takes a number off the front of a message: seven bits a byte, the low ones first. */
static uint64_t take_varint(Bytes *message) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && message->size > 0; shift += 7) {
    unsigned char byte = (unsigned char)*message->data++;
    message->size--;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("the model's description is damaged: a number has no end");
}

/* Takes a field off the front of a message. Returns its number. */
static uint64_t take_field(Bytes *message, Bytes *content) {
  uint64_t tag = take_varint(message), size = 0;
  switch (tag & 7) {
    case 0: take_varint(message); break;
    case 1: size = 8; break;
    case 2: size = take_varint(message); break;
    case 5: size = 4; break;
    default: fail("the model's description is damaged: type %d of a field", (int)(tag & 7));
  }
  if (size > message->size) fail("the model's description is damaged: it ends within a field");
  *content = (Bytes){message->data, (size_t)size};
  message->data += size;
  message->size -= size;
  return tag >> 3;
}

/* The content of the first field of that number; empty if there is none. */
static Bytes find_field(Bytes message, uint64_t number) {
  Bytes content;
  while (message.size > 0)
    if (take_field(&message, &content) == number) return content;
  return (Bytes){"", 0};
}

static Bytes find_value(Bytes message, uint64_t map, const char *key) {
  Bytes entry;
  while (message.size > 0) {
    if (take_field(&message, &entry) != map) continue;
    Bytes name = find_field(entry, KEY);
    if (name.size == strlen(key) && memcmp(name.data, key, name.size) == 0)
      return find_field(entry, VALUE);
  }
  fail("the model has no '%s'; did `tfcodec export` write it?", key);
}

/* ---- The model. */

/* The forms that take one string and answer a bad one with a status; docs/serving.md has all. */
typedef struct {
  const char *name, *input, *output;
  int inputs; /* the second is the quality */
} Signature;

static const Signature ENCODE = {"encode_one", "images_bytes", "files_bytes", 2};
static const Signature DECODE = {"decode_one", "files_bytes", "png_bytes", 1};

typedef struct {
  TF_Session *session;
  TF_Graph *graph;
  TF_Buffer *description; /* a MetaGraphDef */
} Model;

static Model load_model(const char *folder) {
  const char *tags[] = {"serve"};
  Model model = {NULL, TF_NewGraph(), TF_NewBuffer()};
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Status *status = TF_NewStatus();
  model.session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, model.graph,
                                               model.description, status);
  check(status, folder);
  TF_DeleteStatus(status);
  TF_DeleteSessionOptions(options);
  return model;
}

static void close_model(Model *model) {
  TF_Status *status = TF_NewStatus();
  TF_DeleteSession(model->session, status);
  TF_DeleteStatus(status);
  TF_DeleteGraph(model->graph);
  TF_DeleteBuffer(model->description);
}

/* The tensor in the graph that an input or output of a signature is. */
static TF_Output find_tensor(const Model *model, Bytes signature, uint64_t map, const char *key) {
  Bytes field = find_field(find_value(signature, map, key), NAME);
  char name[256], operation[256] = "";
  int index = 0;
  snprintf(name, sizeof name, "%.*s", (int)field.size, field.data);
  sscanf(name, "%255[^:]:%d", operation, &index);
  TF_Output tensor = {TF_GraphOperationByName(model->graph, operation), index};
  if (tensor.oper == NULL) fail("'%s' is '%s', which the graph lacks", key, name);
  return tensor;
}

/* Runs a signature; several threads may do so with one model. `source` is what errors name.
   Returns a string tensor: the file, or the picture as a PNG. */
static TF_Tensor *run(const Model *model, const Signature *asked, Bytes input, float quality,
                      const char *source) {
  Bytes description = {model->description->data, model->description->length};
  Bytes signature = find_value(description, SIGNATURES, asked->name);
  TF_Output fetch = find_tensor(model, signature, OUTPUTS, asked->output);
  TF_Output feeds[2] = {find_tensor(model, signature, INPUTS, asked->input)};
  TF_Tensor *values[2] = {TF_AllocateTensor(TF_STRING, NULL, 0, sizeof(TF_TString)),
                          TF_AllocateTensor(TF_FLOAT, NULL, 0, sizeof(float))};
  if (asked->inputs == 2) feeds[1] = find_tensor(model, signature, INPUTS, "quality");
  TF_StringInit(TF_TensorData(values[0]));
  TF_StringCopy(TF_TensorData(values[0]), input.data, input.size);
  memcpy(TF_TensorData(values[1]), &quality, sizeof quality);

  TF_Tensor *result = NULL;
  TF_Status *status = TF_NewStatus();
  TF_SessionRun(model->session, NULL, feeds, values, asked->inputs, &fetch, &result, 1, NULL, 0,
                NULL, status);
  check(status, source);
  TF_DeleteStatus(status);
  TF_DeleteTensor(values[0]);
  TF_DeleteTensor(values[1]);
  return result;
}

/* ---- Files. */

static Bytes read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("%s: %s", path, strerror(errno));
  char *data = NULL;
  size_t size = 0, room = 0, count;
  do {
    if (size == room) data = realloc(data, room = 2 * room + 65536);
    if (data == NULL) fail("%s: no memory for %zu bytes", path, room);
    count = fread(data + size, 1, room - size, file);
    size += count;
  } while (count > 0);
  if (ferror(file)) fail("%s: %s", path, strerror(errno));
  fclose(file);
  return (Bytes){data, size};
}

static void write_file(const char *path, Bytes bytes) {
  FILE *file = fopen(path, "wb");
  if (file == NULL) fail("%s: %s", path, strerror(errno));
  size_t written = fwrite(bytes.data, 1, bytes.size, file);
  if (fclose(file) != 0 || written != bytes.size) fail("%s: %s", path, strerror(errno));
}

int main(int argc, char **argv) {
  int encode = argc > 1 && strcmp(argv[1], "encode") == 0;
  int decode = argc > 1 && strcmp(argv[1], "decode") == 0;
  char *end = "";
  float quality = encode && argc == 6 ? strtof(argv[5], &end) : 0; /* 0: the model's default */
  if (!((encode || decode) && argc == 5) && !(encode && argc == 6 && *end == '\0')) {
    fprintf(stderr, "usage: %s encode FOLDER PICTURE FILE [QUALITY]\n", argv[0]);
    fprintf(stderr, "       %s decode FOLDER FILE PNG\n", argv[0]);
    return 2;
  }
  const char *folder = argv[2], *source = argv[3], *target = argv[4];
  Bytes input = read_file(source);
  Model model = load_model(folder);
  TF_Tensor *result = run(&model, encode ? &ENCODE : &DECODE, input, quality, source);
  TF_TString *string = TF_TensorData(result);
  write_file(target, (Bytes){TF_StringGetDataPointer(string), TF_StringGetSize(string)});
  TF_DeleteTensor(result);
  close_model(&model);
  free((char *)input.data);
  return 0;
}
