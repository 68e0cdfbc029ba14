// Decodes a .tfcd file of the bundled quad-base by LiteRT's C library: no Python, no TensorFlow.
//
//     ./lite_decode lite/quad-base k.tfcd k.ppm
//
// The folder is that of `tfcodec export quad-base --litert -o lite/quad-base`; docs/lite.md has the
// order of the steps, how to build this, and docs/FORMAT.md the file. What is particular to quad is
// in `decode`, as its litert.json and config.json have it. Files of one lane; alpha and metadata are
// passed over, and large pictures are not taken apart into tiles.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// ------------------------------------------------------------------------------------- LiteRT

// What is used of LiteRT's C interface, as its headers litert/c/*.h declare it.
extern "C" {
typedef struct LiteRtEnvironmentT* LiteRtEnvironment;
typedef struct LiteRtModelT* LiteRtModel;
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef struct LiteRtCompiledModelT* LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT* LiteRtTensorBuffer;
struct LiteRtLayout {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};
struct LiteRtRankedTensorType {
  int element_type;
  LiteRtLayout layout;
};
int LiteRtCreateEnvironment(int, const void*, LiteRtEnvironment*);
int LiteRtCreateModelFromFile(LiteRtEnvironment, const char*, LiteRtModel*);
int LiteRtCreateOptions(LiteRtOptions*);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int);
int LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel*);
int LiteRtCompiledModelResizeInputTensor(LiteRtCompiledModel, size_t, size_t, const int*, size_t);
int LiteRtGetCompiledModelOutputTensorLayouts(LiteRtCompiledModel, size_t, size_t, LiteRtLayout*,
                                              bool);
int LiteRtCreateManagedTensorBuffer(LiteRtEnvironment, int, const LiteRtRankedTensorType*, size_t,
                                    LiteRtTensorBuffer*);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer, void**, int);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer*, size_t,
                           LiteRtTensorBuffer*);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
void LiteRtDestroyOptions(LiteRtOptions);
void LiteRtDestroyModel(LiteRtModel);
}
enum { FLOAT32 = 1, INT32 = 2, UINT8 = 3 };  // LiteRtElementType
enum { CPU = 1, HOST_MEMORY = 1, READ = 0, WRITE = 1 };

[[noreturn]] void fail(const std::string& sentence) {
  fprintf(stderr, "lite_decode: %s\n", sentence.c_str());
  exit(1);
}

void check(int status, const char* what) {
  if (status != 0) fail(std::string(what) + " failed, LiteRT's status is " + std::to_string(status));
}

struct Tensor {
  int type = FLOAT32;
  std::vector<int> shape;
  std::vector<char> bytes;

  static Tensor of(int type, std::vector<int> shape) {
    Tensor tensor{type, shape, {}};
    size_t count = type == UINT8 ? 1 : 4;
    for (int side : shape) count *= side;
    tensor.bytes.resize(count);
    return tensor;
  }
  int32_t* integers() { return reinterpret_cast<int32_t*>(bytes.data()); }
  size_t count() const { return bytes.size() / (type == UINT8 ? 1 : 4); }
};

LiteRtEnvironment environment;

LiteRtTensorBuffer buffer_of(const Tensor& tensor) {
  LiteRtRankedTensorType type = {tensor.type, {}};
  type.layout.rank = tensor.shape.size();
  std::copy(tensor.shape.begin(), tensor.shape.end(), type.layout.dimensions);
  LiteRtTensorBuffer buffer;
  check(LiteRtCreateManagedTensorBuffer(environment, HOST_MEMORY, &type, tensor.bytes.size(),
                                        &buffer), "making a buffer");
  return buffer;
}

// Runs a network: inputs by their places, outputs of these types by theirs.
std::vector<Tensor> run(const std::string& path, const std::vector<Tensor>& inputs,
                        const std::vector<int>& types) {
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel network;
  check(LiteRtCreateModelFromFile(environment, path.c_str(), &model), path.c_str());
  check(LiteRtCreateOptions(&options), "making options");
  check(LiteRtSetOptionsHardwareAccelerators(options, CPU), "choosing the processor");
  check(LiteRtCreateCompiledModel(environment, model, options, &network), "loading a network");

  std::vector<LiteRtTensorBuffer> in, out;
  for (size_t k = 0; k < inputs.size(); ++k) {
    const Tensor& tensor = inputs[k];
    if (tensor.shape.size() == 4)
      check(LiteRtCompiledModelResizeInputTensor(network, 0, k, tensor.shape.data(), 4),
            "giving an input its shape");
    in.push_back(buffer_of(tensor));
    void* memory;
    check(LiteRtLockTensorBuffer(in.back(), &memory, WRITE), "writing an input");
    memcpy(memory, tensor.bytes.data(), tensor.bytes.size());
    check(LiteRtUnlockTensorBuffer(in.back()), "writing an input");
  }
  std::vector<LiteRtLayout> layouts(types.size());
  check(LiteRtGetCompiledModelOutputTensorLayouts(network, 0, layouts.size(), layouts.data(), true),
        "asking for the shapes of outputs");
  std::vector<Tensor> outputs;
  for (size_t k = 0; k < types.size(); ++k) {
    const int32_t* sides = layouts[k].dimensions;
    outputs.push_back(Tensor::of(types[k], {sides, sides + layouts[k].rank}));
    out.push_back(buffer_of(outputs.back()));
  }
  check(LiteRtRunCompiledModel(network, 0, in.size(), in.data(), out.size(), out.data()),
        "running a network");
  for (size_t k = 0; k < types.size(); ++k) {
    void* memory;
    check(LiteRtLockTensorBuffer(out[k], &memory, READ), "reading an output");
    memcpy(outputs[k].bytes.data(), memory, outputs[k].bytes.size());
    check(LiteRtUnlockTensorBuffer(out[k]), "reading an output");
  }
  for (LiteRtTensorBuffer buffer : in) LiteRtDestroyTensorBuffer(buffer);
  for (LiteRtTensorBuffer buffer : out) LiteRtDestroyTensorBuffer(buffer);
  LiteRtDestroyCompiledModel(network);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  return outputs;
}

// ------------------------------------------------------------------------------------ the file

std::vector<uint8_t> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<int32_t> read_integers(const std::string& path) {
  std::vector<uint8_t> bytes = read(path);
  std::vector<int32_t> numbers(bytes.size() / 4);
  memcpy(numbers.data(), bytes.data(), 4 * numbers.size());
  return numbers;
}

uint32_t crc32(const uint8_t* data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

struct File {
  std::vector<uint8_t> bytes;
  size_t at = 13, end = 0;
  int quality = 0, flags = 0;
  std::string fingerprint;
  uint32_t height = 0, width = 0, checksum = 0;
  std::vector<uint8_t> payload;
  std::vector<int32_t> escapes;

  explicit File(const std::string& path) : bytes(read(path)) {
    if (bytes.size() < 26 || memcmp(bytes.data(), "tfcd\2", 5)) fail(path + ": no .tfcd file");
    end = bytes.size() - 8;
    if (crc32(bytes.data(), end + 4) != number(end + 4)) fail(path + ": damaged");
    checksum = number(end);
    for (int k = 5; k < 9; ++k) {
      char digits[3];
      snprintf(digits, sizeof digits, "%02x", bytes[k]);
      fingerprint += digits;
    }
    quality = bytes[10], flags = bytes[11];
    // Profiles 2 and 3, whose integers differ in the model alone.
    if (bytes[9] < 2 || bytes[9] > 3) fail(path + ": is of no model for LiteRT");
    if (flags > 15 || bytes[12] != 0) fail(path + ": has lanes, or other parts");
    height = varint(), width = varint();
    if (!height || !width || uint64_t(height) * width > 1 << 22) fail(path + ": is too large");
    size_t sizes[4] = {varint()};
    for (int part : {2, 1, 3})  // escapes, alpha, metadata
      if (flags >> part & 1) sizes[part] = varint();
    if (sizes[0] + sizes[1] + sizes[2] + sizes[3] != end - at) fail(path + ": damaged");
    payload.assign(&bytes[at], &bytes[at] + sizes[0]);
    at += sizes[0];
    if (flags & 4)
      for (uint32_t left = varint(); left > 0; --left) {
        uint32_t value = varint();
        escapes.push_back(int32_t(value >> 1) ^ -int32_t(value & 1));
      }
  }
  uint32_t number(size_t place) const {
    return bytes[place] | bytes[place + 1] << 8 | bytes[place + 2] << 16 |
           uint32_t(bytes[place + 3]) << 24;
  }
  uint32_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      if (at >= end) break;
      value |= uint64_t(bytes[at] & 127) << shift;
      if (bytes[at++] < 128) return value;
    }
    fail("a number in the file is malformed");
  }
};

// --------------------------------------------------------------------------------- the symbols

class Decoder {
 public:
  Decoder(const std::string& folder, const File& file)
      : lookup_(read_integers(folder + "/lookup.bin")),
        offsets_(read_integers(folder + "/offsets.bin")),
        sizes_(read_integers(folder + "/sizes.bin")),
        escapes_(file.escapes),
        stream_(file.payload) {
    for (size_t row = 0, start = 1; row < sizes_.size(); start += sizes_[row++] + 2)
      starts_.push_back(start);
    offset_ = word() << 16;
    offset_ |= word();
  }

  // The symbols of a shape, each by the table of its index; few indexes are repeated.
  Tensor decode(Tensor& indexes, std::vector<int> shape) {
    Tensor symbols = Tensor::of(INT32, shape);
    for (size_t i = 0; i < symbols.count(); ++i) {
      uint32_t row = indexes.integers()[i % indexes.count()];
      if (row >= sizes_.size()) fail("a network computes otherwise here");
      int32_t entry = decode_entry(&lookup_[starts_[row]], sizes_[row]);
      int32_t symbol = offsets_[row] + entry;
      if (entry == sizes_[row] - 1) {
        if (used_ == escapes_.size()) fail("the file has too few escapes");
        symbol = escapes_[used_++];
      }
      symbols.integers()[i] = symbol;
      uint32_t x = seen_++ * 0x9e3779b1u;
      x = (x ^ x >> 15) * 0x2c1b3c6du;
      checksum_ += (symbol + (1 << 15)) * ((x ^ x >> 13) | 1);
    }
    return symbols;
  }
  uint32_t checksum() const { return checksum_; }

 private:
  uint64_t word() {
    uint64_t high = at_ < stream_.size() ? stream_[at_] : 0;
    uint64_t low = at_ + 1 < stream_.size() ? stream_[at_ + 1] : 0;
    at_ += 2;
    return high << 8 | low;
  }
  int32_t decode_entry(const int32_t* shares, int32_t size) {
    int32_t low = 0, high = size;  // shares[low] lies at or below the offset, shares[high] above
    while (high - low > 1) {
      int32_t middle = (low + high) / 2;
      (size_ * shares[middle] >> 16 <= offset_ ? low : high) = middle;
    }
    uint64_t start = size_ * shares[low] >> 16;
    offset_ -= start;
    size_ = (size_ * shares[low + 1] >> 16) - start;
    if (size_ <= 1 << 16) {
      offset_ = offset_ << 16 | word();
      size_ <<= 16;
    }
    return low;
  }

  std::vector<int32_t> lookup_, offsets_, sizes_;
  std::vector<size_t> starts_;
  std::vector<int32_t> escapes_;
  std::vector<uint8_t> stream_;
  uint64_t offset_ = 0, size_ = uint64_t(1) << 32;
  size_t at_ = 0, used_ = 0;
  uint32_t seen_ = 0, checksum_ = 0;
};

// ----------------------------------------------------------------------------- quad's own walk

constexpr int STRIDE = 64, Z_CHANNELS = 96, Y_STRIDE = 32, Y_CHANNELS = 256, Y_STEPS = 4;

// The highest rung of the ladder that config.json describes: one less than it has lambdas.
float top_rung(const std::string& described) {
  size_t begin = described.find("\"lambdas\": ["), end = described.find(']', begin);
  if (end == std::string::npos) fail("config.json has no lambdas");
  return std::count(described.begin() + begin, described.begin() + end, ',');
}

// Args: top: of `top_rung`.
Tensor decode(const std::string& folder, const File& file, float top) {
  Decoder decoder(folder, file);
  int rows = (file.height + STRIDE - 1) / STRIDE, columns = (file.width + STRIDE - 1) / STRIDE;
  std::vector<Tensor> outputs = run(folder + "/step0.tflite", {}, {FLOAT32, INT32});
  Tensor symbols = decoder.decode(outputs[1], {1, rows, columns, Z_CHANNELS});

  outputs = run(folder + "/step1.tflite", {symbols}, {FLOAT32, FLOAT32, INT32});
  Tensor means = outputs[0];
  std::vector<Tensor> state = {means, outputs[1]};  // means, mu and, from step 2 on, y_hat
  const int scale = STRIDE / Y_STRIDE;
  for (int step = 1; step <= Y_STEPS; ++step) {
    symbols = decoder.decode(outputs.back(), {1, scale * rows, scale * columns, Y_CHANNELS});
    state.push_back(symbols);
    if (step == Y_STEPS) break;
    std::string network = folder + "/step" + std::to_string(step + 1) + ".tflite";
    outputs = run(network, state, {FLOAT32, FLOAT32, INT32});  // mu, y_hat, indexes
    state = {means, outputs[0], outputs[1]};
  }
  if (decoder.checksum() != file.checksum) fail("the symbols are not the encoder's");

  Tensor y_hat = run(folder + "/finish.tflite", state, {FLOAT32})[0], rung = Tensor::of(FLOAT32, {1});
  float value = std::min(file.quality / 32.0f / 7, 1.0f) * top;  // qualities are from 1 to 8
  memcpy(rung.bytes.data(), &value, sizeof value);
  return run(folder + "/synthesis.tflite", {y_hat, rung}, {UINT8})[0];
}

int main(int count, char** words) {
  if (count != 4) fail("usage: lite_decode FOLDER FILE.tfcd PICTURE.ppm");
  check(LiteRtCreateEnvironment(0, nullptr, &environment), "starting LiteRT");
  File file(words[2]);
  std::vector<uint8_t> config = read(std::string(words[1]) + "/config.json");
  std::string described(config.begin(), config.end());
  if (described.find("\"fingerprint\": \"" + file.fingerprint + '"') == std::string::npos)
    fail(std::string(words[2]) + ": is of another model");
  Tensor picture = decode(words[1], file, top_rung(described));
  std::ofstream out(words[3], std::ios::binary);
  out << "P6\n" << file.width << " " << file.height << "\n255\n";
  for (uint32_t row = 0; row < file.height; ++row)
    out.write(&picture.bytes[size_t(3) * row * picture.shape[2]], 3 * file.width);
  if (!out.flush()) fail(std::string(words[3]) + ": cannot be written");
}
