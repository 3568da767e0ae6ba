#pragma once

// Reader for GGUF files, versions 2 and 3, little-endian (ggml, docs/gguf.md).
//
// Gguf::open() maps the file (and the other parts of a split one), checks every count, length, offset and
// product before it is used, and from then on only hands out views into the mapping: keys, strings, arrays
// and tensors are not copied. Everything returned lives as long as the Gguf. The pages of the metadata are
// the process's own by then, so that nothing that happens to the file concerns them; those of the tensors are
// the file's (see MappedFile). After open() all members are const and may be called by any thread.
//
// Errors: Error{bad_input} for a malformed file, {unsupported} for a version or type that this reader does
// not know, {io} when the system refuses. The message names file, field, found, expected.

#include "quant/base/tensor_view.h"
#include "quant/mapped_file.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace greenroom::quant {

// Types of metadata values. The numbers are written in files: don't renumber.
enum class GgufType : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

std::string_view gguf_type_name(GgufType type) noexcept;

class GgufArray;

// One metadata value. Integers are widened, floats become double; type() keeps what the file says.
class GgufValue {
  public:
    using Storage =
        std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, const GgufArray*>;

    GgufValue(GgufType type, Storage storage) : type_(type), storage_(storage) {}

    GgufType type() const noexcept { return type_; }

    // Each is empty unless the value is of that family. as_uint() also takes a signed integer that is not
    // negative, as_int() an unsigned one that fits, as_double() any number.
    std::optional<std::uint64_t> as_uint() const noexcept;
    std::optional<std::int64_t> as_int() const noexcept;
    std::optional<double> as_double() const noexcept;
    std::optional<bool> as_bool() const noexcept;
    std::optional<std::string_view> as_string() const noexcept;
    const GgufArray* as_array() const noexcept;  // nullptr: not an array

  private:
    GgufType type_;
    Storage storage_;
};

// An array of metadata values, read in place. Nested arrays are arrays of type `array`.
class GgufArray {
  public:
    GgufType element_type() const noexcept { return element_type_; }
    std::size_t size() const noexcept { return size_; }

    // Element i, i < size(). Costs one unaligned load (numbers) or one table look-up (strings, arrays).
    GgufValue operator[](std::size_t i) const;

  private:
    friend class GgufParser;
    GgufType element_type_ = GgufType::u8;
    std::size_t size_ = 0;
    const std::byte* numbers_ = nullptr;     // fixed-size elements, in the mapping
    std::vector<std::string_view> strings_;  // views into the mapping
    std::vector<const GgufArray*> arrays_;   // owned by the Gguf
};

struct GgufEntry {
    std::string_view key;
    GgufValue value;
};

struct GgufTensor {  // no two of a file share a byte
    std::string_view name;
    TensorView view;                // data points into the mapping of its part
    std::size_t part = 0;           // which file of a split model
    std::uint64_t file_offset = 0;  // of the first byte, from the start of that file
};

// Whether open() follows split.count to the other parts.
enum class SplitParts { all, first_only };

class Gguf {
  public:
    // Opens a single file, or a split model by its first part (name-00001-of-0000N.gguf).
    static Gguf open(const std::string& path, SplitParts parts = SplitParts::all);

    // Parses an image in memory, which must outlive the result. `name` stands in messages. For tests and the
    // fuzzer.
    static Gguf parse(const std::byte* data, std::size_t size, const std::string& name);

    Gguf(Gguf&&) noexcept = default;
    Gguf& operator=(Gguf&&) noexcept = default;

    const std::string& path() const noexcept { return paths_.front(); }
    const std::vector<std::string>& part_paths() const noexcept { return paths_; }
    int version() const noexcept { return version_; }
    std::uint64_t alignment() const noexcept { return alignment_; }
    std::uint64_t file_bytes() const noexcept { return file_bytes_; }            // of all opened parts
    std::size_t n_parts_expected() const noexcept { return n_parts_expected_; }  // split.count, or 1

    const std::vector<GgufEntry>& entries() const noexcept { return entries_; }   // in file order, first part
    const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }  // in file order, all parts

    const GgufValue* find(std::string_view key) const noexcept;           // nullptr: no such key
    const GgufTensor* find_tensor(std::string_view name) const noexcept;  // nullptr: no such tensor

    // Copies all bytes of a tensor, not through the mapping. Error{io}.
    void read(const GgufTensor& tensor, std::span<std::byte> to) const;

    // Typed look-ups: empty when the key is missing, Error{bad_input} when it holds another type.
    std::optional<std::uint64_t> find_uint(std::string_view key) const;
    std::optional<double> find_double(std::string_view key) const;
    std::optional<bool> find_bool(std::string_view key) const;
    std::optional<std::string_view> find_string(std::string_view key) const;
    const GgufArray* find_array(std::string_view key) const;

    // The same for keys that must be there: Error{bad_input} naming file and key when it is missing.
    std::uint64_t require_uint(std::string_view key) const;
    double require_double(std::string_view key) const;
    std::string_view require_string(std::string_view key) const;

  private:
    friend class GgufParser;
    Gguf() = default;

    std::vector<MappedFile> files_;
    std::vector<std::string> paths_;
    int version_ = 0;
    std::uint64_t alignment_ = 0;
    std::uint64_t file_bytes_ = 0;
    std::size_t n_parts_expected_ = 1;
    std::vector<GgufEntry> entries_;
    std::vector<GgufTensor> tensors_;
    std::vector<std::unique_ptr<GgufArray>> arrays_;
    std::unordered_map<std::string_view, std::size_t> entry_index_;
    std::unordered_map<std::string_view, std::size_t> tensor_index_;
};

}  // namespace greenroom::quant
