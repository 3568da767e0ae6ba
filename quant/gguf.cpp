#include "quant/gguf.h"

#include "quant/base/error.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <span>

namespace greenroom::quant {
namespace {

static_assert(std::endian::native == std::endian::little,
              "GGUF is read in place, so the host must be little-endian");

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 30;
constexpr std::size_t kMaxNameBytes =
    65535;                         // the specification's limit for keys; tensor names are far shorter
constexpr int kMaxArrayDepth = 4;  // real files nest once, if at all
constexpr std::uint64_t kMaxParts = 99999;  // five digits in the file name

// Bytes of an element with a fixed size, 0 for strings and arrays.
std::size_t fixed_bytes(GgufType type) noexcept {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean:
            return 1;
        case GgufType::u16:
        case GgufType::i16:
            return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32:
            return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64:
            return 8;
        case GgufType::string:
        case GgufType::array:
            return 0;
    }
    return 0;
}

template <class T>
T load(const std::byte* p) noexcept {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

GgufValue load_number(GgufType type, const std::byte* p) {
    switch (type) {
        case GgufType::u8:
            return {type, std::uint64_t{load<std::uint8_t>(p)}};
        case GgufType::i8:
            return {type, std::int64_t{load<std::int8_t>(p)}};
        case GgufType::u16:
            return {type, std::uint64_t{load<std::uint16_t>(p)}};
        case GgufType::i16:
            return {type, std::int64_t{load<std::int16_t>(p)}};
        case GgufType::u32:
            return {type, std::uint64_t{load<std::uint32_t>(p)}};
        case GgufType::i32:
            return {type, std::int64_t{load<std::int32_t>(p)}};
        case GgufType::u64:
            return {type, load<std::uint64_t>(p)};
        case GgufType::i64:
            return {type, load<std::int64_t>(p)};
        case GgufType::f32:
            return {type, static_cast<double>(load<float>(p))};
        case GgufType::f64:
            return {type, load<double>(p)};
        case GgufType::boolean:
            return {type, load<std::uint8_t>(p) != 0};
        case GgufType::string:
        case GgufType::array:
            break;
    }
    fail(ErrorKind::internal, "load_number: type {} is not a number", static_cast<std::uint32_t>(type));
}

// Keys and names come from the file: shorten them and keep control characters out of the terminal.
std::string printable(std::string_view text) {
    constexpr std::size_t kShown = 80;
    std::string out;
    for (const char c : text.substr(0, kShown)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
    if (text.size() > kShown) out += "…";
    return out;
}

// "model-00001-of-00003.gguf" → the name of part `index` (from 0). Empty when the name has another form.
std::string part_path(const std::string& first, std::uint64_t index, std::uint64_t count) {
    const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
    if (!first.ends_with(suffix)) return {};
    return first.substr(0, first.size() - suffix.size()) +
           fmt::format("-{:05}-of-{:05}.gguf", index + 1, count);
}

}  // namespace

std::string_view gguf_type_name(GgufType type) noexcept {
    switch (type) {
        case GgufType::u8:
            return "u8";
        case GgufType::i8:
            return "i8";
        case GgufType::u16:
            return "u16";
        case GgufType::i16:
            return "i16";
        case GgufType::u32:
            return "u32";
        case GgufType::i32:
            return "i32";
        case GgufType::f32:
            return "f32";
        case GgufType::boolean:
            return "bool";
        case GgufType::string:
            return "string";
        case GgufType::array:
            return "array";
        case GgufType::u64:
            return "u64";
        case GgufType::i64:
            return "i64";
        case GgufType::f64:
            return "f64";
    }
    return "unknown";
}

// Reads one file image into a Gguf. Every read goes through take(), which is where the end of the file is
// enforced.
class GgufParser {
  public:
    GgufParser(Gguf& gguf, const std::byte* data, std::size_t size, std::string name)
        : gguf_(gguf), begin_(data), at_(data), end_(data + size), name_(std::move(name)) {}

    // Header, metadata and tensor table of part number `part`. Part 0 fills entries() and the alignment.
    void parse(std::size_t part) {
        const auto [n_tensors, n_entries] = parse_header();
        parse_entries(n_entries, part);
        parse_tensors(n_tensors, part);
    }

    // What parse() has read: all that the views of keys, strings, arrays and names look at.
    std::size_t metadata_bytes() const noexcept { return static_cast<std::size_t>(offset()); }

    // The value of an unsigned key of this part's metadata.
    std::optional<std::uint64_t> uint_key(std::string_view key) const {
        for (const GgufEntry& entry : entries_)
            if (entry.key == key) return entry.value.as_uint();
        return std::nullopt;
    }

  private:
    struct Counts {
        std::uint64_t n_tensors;
        std::uint64_t n_entries;
    };

    std::uint64_t offset() const noexcept { return static_cast<std::uint64_t>(at_ - begin_); }
    std::uint64_t remaining() const noexcept { return static_cast<std::uint64_t>(end_ - at_); }
    std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(end_ - begin_); }

    const std::byte* take(std::uint64_t bytes, std::string_view what) {
        if (bytes > remaining())
            fail(ErrorKind::bad_input,
                 "{}: {} at byte {} needs {} bytes, the file has {} more. Truncated download?", name_, what,
                 offset(), bytes, remaining());
        const std::byte* taken = at_;
        at_ += bytes;
        return taken;
    }

    template <class T>
    T take_number(std::string_view what) {
        return load<T>(take(sizeof(T), what));
    }

    std::string_view take_string(std::string_view what) {
        const auto length = take_number<std::uint64_t>(what);
        return {reinterpret_cast<const char*>(take(length, what)), static_cast<std::size_t>(length)};
    }

    // A name of a key or tensor: short and not empty.
    std::string_view take_name(std::string_view what) {
        const std::uint64_t start = offset();
        const std::string_view name = take_string(what);
        if (name.empty() || name.size() > kMaxNameBytes)
            fail(ErrorKind::bad_input, "{}: {} at byte {} has {} characters, expected 1 to {}. Corrupt file?",
                 name_, what, start, name.size(), kMaxNameBytes);
        return name;
    }

    Counts parse_header() {
        const auto magic = take_number<std::uint32_t>("the magic number");
        if (magic != kMagic) {
            const auto* p = reinterpret_cast<const unsigned char*>(begin_);
            fail(ErrorKind::bad_input,
                 "{}: not a GGUF file: it starts with {:02x} {:02x} {:02x} {:02x}, expected 47 47 55 46 "
                 "(\"GGUF\")",
                 name_, p[0], p[1], p[2], p[3]);
        }
        const auto version = take_number<std::uint32_t>("the version");
        if (version == 1)
            fail(ErrorKind::unsupported,
                 "{}: GGUF version 1; versions 2 and 3 are read. Convert the model again with a current "
                 "converter",
                 name_);
        if ((version & 0xffffU) == 0 && version != 0)
            fail(ErrorKind::unsupported,
                 "{}: a big-endian GGUF (version field {:#010x}); only little-endian files are read", name_,
                 version);
        if (version != 2 && version != 3)
            fail(ErrorKind::unsupported, "{}: GGUF version {}; versions 2 and 3 are read", name_, version);
        gguf_.version_ = static_cast<int>(version);

        const auto n_tensors = take_number<std::uint64_t>("the tensor count");
        const auto n_entries = take_number<std::uint64_t>("the metadata count");
        // The least that one of each takes in the file: so an absurd count is refused before anything is
        // reserved.
        constexpr std::uint64_t kLeastEntry = 8 + 1 + 4 + 1;
        constexpr std::uint64_t kLeastTensor = 8 + 1 + 4 + 8 + 4 + 8;
        if (n_entries > remaining() / kLeastEntry)
            fail(ErrorKind::bad_input,
                 "{}: metadata count {}, but only {} bytes follow. Corrupt or truncated?", name_, n_entries,
                 remaining());
        if (n_tensors > remaining() / kLeastTensor)
            fail(ErrorKind::bad_input, "{}: tensor count {}, but only {} bytes follow. Corrupt or truncated?",
                 name_, n_tensors, remaining());
        return {n_tensors, n_entries};
    }

    void parse_entries(std::uint64_t n_entries, std::size_t part) {
        entries_.reserve(n_entries);
        std::unordered_map<std::string_view, std::size_t> index;
        for (std::uint64_t i = 0; i < n_entries; ++i) {
            const std::string_view key = take_name("a metadata key");
            const GgufType type = take_type(key);
            entries_.push_back({key, take_value(type, key)});
            if (!index.emplace(key, i).second)
                fail(ErrorKind::bad_input, "{}: metadata key {} occurs twice", name_, printable(key));
        }
        alignment_ = read_alignment();
        if (part == 0) {
            gguf_.entries_ = entries_;
            gguf_.entry_index_ = std::move(index);
            gguf_.alignment_ = alignment_;
        }
    }

    std::uint64_t read_alignment() const {
        const auto found = std::find_if(entries_.begin(), entries_.end(),
                                        [](const GgufEntry& e) { return e.key == "general.alignment"; });
        if (found == entries_.end()) return kDefaultAlignment;
        const auto alignment = found->value.as_uint();
        if (!alignment || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment)
            fail(ErrorKind::bad_input,
                 "{}: metadata general.alignment: found {}, expected a power of two up to {}", name_,
                 alignment ? std::to_string(*alignment) : std::string(gguf_type_name(found->value.type())),
                 kMaxAlignment);
        return *alignment;
    }

    GgufType take_type(std::string_view key) {
        const auto id = take_number<std::uint32_t>("a metadata type");
        if (id > static_cast<std::uint32_t>(GgufType::f64))
            fail(ErrorKind::bad_input, "{}: metadata {}: value type {}, expected 0 to 12. Corrupt file?",
                 name_, printable(key), id);
        return static_cast<GgufType>(id);
    }

    GgufValue take_value(GgufType type, std::string_view key) {
        const std::string what = "metadata " + printable(key);
        if (type == GgufType::string) return {type, take_string(what)};
        if (type == GgufType::array) return {type, take_array(key, what, 1)};
        const std::byte* p = take(fixed_bytes(type), what);
        if (type == GgufType::boolean) check_bools(p, 1, what);
        return load_number(type, p);
    }

    const GgufArray* take_array(std::string_view key, std::string_view what, int depth) {
        if (depth > kMaxArrayDepth)
            fail(ErrorKind::unsupported, "{}: {}: arrays nested deeper than {}", name_, what, kMaxArrayDepth);
        auto array = std::make_unique<GgufArray>();
        array->element_type_ = take_type(key);
        const auto count = take_number<std::uint64_t>(what);
        const std::size_t element_bytes = fixed_bytes(array->element_type_);
        // A string takes 8 bytes at least, an array 12: again the count is bounded by what is there.
        const std::size_t least =
            element_bytes != 0 ? element_bytes : (array->element_type_ == GgufType::string ? 8 : 12);
        if (count > remaining() / least)
            fail(ErrorKind::bad_input,
                 "{}: {}: array of {} {}, but only {} bytes follow. Corrupt or truncated?", name_, what,
                 count, gguf_type_name(array->element_type_), remaining());
        array->size_ = static_cast<std::size_t>(count);
        if (element_bytes != 0) {
            array->numbers_ = take(count * element_bytes, what);
            if (array->element_type_ == GgufType::boolean) check_bools(array->numbers_, array->size_, what);
        } else if (array->element_type_ == GgufType::string) {
            array->strings_.reserve(array->size_);
            for (std::uint64_t i = 0; i < count; ++i) array->strings_.push_back(take_string(what));
        } else {
            array->arrays_.reserve(array->size_);
            for (std::uint64_t i = 0; i < count; ++i)
                array->arrays_.push_back(take_array(key, what, depth + 1));
        }
        gguf_.arrays_.push_back(std::move(array));
        return gguf_.arrays_.back().get();
    }

    void check_bools(const std::byte* p, std::size_t n, std::string_view what) const {
        const auto* bad = std::find_if(p, p + n, [](std::byte b) { return b > std::byte{1}; });
        if (bad != p + n)
            fail(ErrorKind::bad_input, "{}: {}: a bool of value {}, expected 0 or 1. Corrupt file?", name_,
                 what, std::to_integer<int>(*bad));
    }

    void parse_tensors(std::uint64_t n_tensors, std::size_t part) {
        const std::size_t first = gguf_.tensors_.size();
        gguf_.tensors_.reserve(first + n_tensors);
        for (std::uint64_t i = 0; i < n_tensors; ++i) gguf_.tensors_.push_back(take_tensor(part));

        const std::uint64_t data_start = (offset() + alignment_ - 1) / alignment_ * alignment_;
        for (std::size_t i = first; i < gguf_.tensors_.size(); ++i) {
            GgufTensor& tensor = gguf_.tensors_[i];
            place_tensor(tensor, data_start);
            if (!gguf_.tensor_index_.emplace(tensor.name, i).second)
                fail(ErrorKind::bad_input, "{}: tensor {} occurs twice", name_, printable(tensor.name));
        }
        check_apart(std::span(gguf_.tensors_).subspan(first));
    }

    // So that a byte belongs to one tensor at most.
    void check_apart(std::span<const GgufTensor> tensors) const {
        std::vector<const GgufTensor*> in_file;
        for (const GgufTensor& tensor : tensors) in_file.push_back(&tensor);
        std::ranges::sort(in_file, {}, [](const GgufTensor* tensor) { return tensor->file_offset; });
        for (std::size_t i = 1; i < in_file.size(); ++i) {
            const GgufTensor& before = *in_file[i - 1];
            const std::uint64_t end = before.file_offset + static_cast<std::uint64_t>(before.view.bytes());
            if (in_file[i]->file_offset < end)
                fail(ErrorKind::bad_input,
                     "{}: tensor {} begins at byte {}, in tensor {}, which ends at byte {}. Corrupt file?",
                     name_, printable(in_file[i]->name), in_file[i]->file_offset, printable(before.name),
                     end);
        }
    }

    // One row of the tensor table. file_offset is still relative to the data section.
    GgufTensor take_tensor(std::size_t part) {
        GgufTensor tensor;
        tensor.part = part;
        tensor.name = take_name("a tensor name");
        const std::string what = "tensor " + printable(tensor.name);

        const auto n_dims = take_number<std::uint32_t>(what);
        if (n_dims < 1 || n_dims > 4)
            fail(ErrorKind::bad_input, "{}: {}: {} dimensions, expected 1 to 4. Corrupt file?", name_, what,
                 n_dims);
        tensor.view.n_dims = static_cast<int>(n_dims);
        constexpr std::uint64_t kMaxValues =
            std::numeric_limits<std::int64_t>::max() / 16;  // so that bytes fit, too
        std::uint64_t n_values = 1;
        for (std::uint32_t d = 0; d < n_dims; ++d) {
            const auto n = take_number<std::uint64_t>(what);
            if (n == 0 || n > kMaxValues / n_values)
                fail(ErrorKind::bad_input,
                     "{}: {}: dimension {} is {}; expected at least 1 and a product below 2^59", name_, what,
                     d, n);
            n_values *= n;
            tensor.view.shape[d] = static_cast<std::int64_t>(n);
        }
        const auto type_id = take_number<std::uint32_t>(what);
        const TypeInfo* info = find_type(type_id);
        if (info == nullptr)
            fail(ErrorKind::unsupported, "{}: {}: type {} is not one that is known (see docs/formats.md)",
                 name_, what, type_id);
        tensor.view.type = info->type;
        if (tensor.view.shape[0] % info->block_values != 0)
            fail(ErrorKind::bad_input,
                 "{}: {}: type {} ({}) with row length {}; rows must be a multiple of {}. Corrupt file?",
                 name_, what, type_id, info->name, tensor.view.shape[0], info->block_values);
        tensor.file_offset = take_number<std::uint64_t>(what);
        return tensor;
    }

    // Turns the relative offset into an absolute one and checks that the whole tensor lies in the file.
    void place_tensor(GgufTensor& tensor, std::uint64_t data_start) const {
        const std::uint64_t relative = tensor.file_offset;
        const auto bytes = static_cast<std::uint64_t>(tensor.view.bytes());
        if (relative % alignment_ != 0)
            fail(ErrorKind::bad_input, "{}: tensor {}: offset {} is not a multiple of the alignment {}",
                 name_, printable(tensor.name), relative, alignment_);
        if (data_start > size() || relative > size() - data_start || bytes > size() - data_start - relative)
            fail(ErrorKind::bad_input,
                 "{}: tensor {}: {} bytes at data offset {} end outside the file, which has {} bytes from "
                 "byte {} on. "
                 "Truncated download?",
                 name_, printable(tensor.name), bytes, relative, size() - std::min(data_start, size()),
                 data_start);
        tensor.file_offset = data_start + relative;
        tensor.view.data = begin_ + tensor.file_offset;
    }

    Gguf& gguf_;
    const std::byte* begin_;
    const std::byte* at_;
    const std::byte* end_;
    std::string name_;
    std::uint64_t alignment_ = kDefaultAlignment;
    std::vector<GgufEntry> entries_;  // of this part
};

Gguf Gguf::parse(const std::byte* data, std::size_t size, const std::string& name) {
    Gguf gguf;
    gguf.paths_ = {name};
    gguf.file_bytes_ = size;
    GgufParser(gguf, data, size, name).parse(0);
    return gguf;
}

void Gguf::read(const GgufTensor& tensor, std::span<std::byte> to) const {
    GR_CHECK(static_cast<std::int64_t>(to.size()) == tensor.view.bytes());
    if (files_.empty())  // an image in memory
        std::copy_n(tensor.view.data, to.size(), to.data());
    else
        files_[tensor.part].read(tensor.file_offset, to);
}

Gguf Gguf::open(const std::string& path, SplitParts parts) {
    Gguf gguf;
    const auto add_part = [&gguf](const std::string& part_name) {
        gguf.files_.emplace_back(part_name);
        gguf.paths_.push_back(part_name);
        gguf.file_bytes_ += gguf.files_.back().size();
        GgufParser parser(gguf, gguf.files_.back().data(), gguf.files_.back().size(), part_name);
        parser.parse(gguf.files_.size() - 1);
        gguf.files_.back().own_first(parser.metadata_bytes());
        return parser;
    };

    add_part(path);
    const std::uint64_t count = gguf.find_uint("split.count").value_or(1);
    if (count <= 1) return gguf;
    if (count > kMaxParts)
        fail(ErrorKind::bad_input, "{}: metadata split.count: found {}, expected 1 to {}", path, count,
             kMaxParts);
    gguf.n_parts_expected_ = static_cast<std::size_t>(count);
    if (parts == SplitParts::first_only) return gguf;

    const std::uint64_t number = gguf.find_uint("split.no").value_or(0);
    if (number != 0)
        fail(ErrorKind::bad_input,
             "{}: is part {} of {}; open the model by its first part (…-00001-of-{:05}.gguf)", path,
             number + 1, count, count);
    if (part_path(path, 0, count).empty())
        fail(ErrorKind::bad_input,
             "{}: is part 1 of {}, but its name does not end in -00001-of-{:05}.gguf, so the other parts "
             "can't be found. "
             "Give all parts their original names",
             path, count, count);
    for (std::uint64_t i = 1; i < count; ++i) {
        const std::string name = part_path(path, i, count);
        const GgufParser part = add_part(name);
        if (part.uint_key("split.no") != i || part.uint_key("split.count") != count)
            fail(
                ErrorKind::bad_input,
                "{}: metadata split.no/split.count: expected part {} of {}. Does it belong to another model?",
                name, i, count);
    }
    if (const auto expected = gguf.find_uint("split.tensors.count");
        expected && *expected != gguf.tensors_.size())
        fail(ErrorKind::bad_input,
             "{}: metadata split.tensors.count: {} tensors expected, {} found in {} parts", path, *expected,
             gguf.tensors_.size(), count);
    return gguf;
}

GgufValue GgufArray::operator[](std::size_t i) const {
    GR_CHECK(i < size_);
    if (element_type_ == GgufType::string) return {element_type_, strings_[i]};
    if (element_type_ == GgufType::array) return {element_type_, arrays_[i]};
    return load_number(element_type_, numbers_ + i * fixed_bytes(element_type_));
}

std::optional<std::uint64_t> GgufValue::as_uint() const noexcept {
    if (const auto* u = std::get_if<std::uint64_t>(&storage_)) return *u;
    if (const auto* i = std::get_if<std::int64_t>(&storage_); i != nullptr && *i >= 0)
        return static_cast<std::uint64_t>(*i);
    return std::nullopt;
}

std::optional<std::int64_t> GgufValue::as_int() const noexcept {
    if (const auto* i = std::get_if<std::int64_t>(&storage_)) return *i;
    if (const auto* u = std::get_if<std::uint64_t>(&storage_);
        u != nullptr && *u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return static_cast<std::int64_t>(*u);
    return std::nullopt;
}

std::optional<double> GgufValue::as_double() const noexcept {
    if (const auto* d = std::get_if<double>(&storage_)) return *d;
    if (const auto* u = std::get_if<std::uint64_t>(&storage_)) return static_cast<double>(*u);
    if (const auto* i = std::get_if<std::int64_t>(&storage_)) return static_cast<double>(*i);
    return std::nullopt;
}

std::optional<bool> GgufValue::as_bool() const noexcept {
    const auto* b = std::get_if<bool>(&storage_);
    return b != nullptr ? std::optional<bool>(*b) : std::nullopt;
}

std::optional<std::string_view> GgufValue::as_string() const noexcept {
    const auto* s = std::get_if<std::string_view>(&storage_);
    return s != nullptr ? std::optional<std::string_view>(*s) : std::nullopt;
}

const GgufArray* GgufValue::as_array() const noexcept {
    const auto* a = std::get_if<const GgufArray*>(&storage_);
    return a != nullptr ? *a : nullptr;
}

const GgufValue* Gguf::find(std::string_view key) const noexcept {
    const auto found = entry_index_.find(key);
    return found == entry_index_.end() ? nullptr : &entries_[found->second].value;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const noexcept {
    const auto found = tensor_index_.find(name);
    return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

namespace {

[[noreturn]] void wrong_type(const Gguf& gguf, std::string_view key, const GgufValue& value,
                             std::string_view expected) {
    fail(ErrorKind::bad_input, "{}: metadata {}: found a value of type {}, expected {}", gguf.path(), key,
         gguf_type_name(value.type()), expected);
}

[[noreturn]] void missing(const Gguf& gguf, std::string_view key) {
    fail(ErrorKind::bad_input,
         "{}: metadata {}: missing. Is the file complete and made by a current converter?", gguf.path(), key);
}

}  // namespace

std::optional<std::uint64_t> Gguf::find_uint(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto number = value->as_uint();
    if (!number) wrong_type(*this, key, *value, "an integer that is not negative");
    return number;
}

std::optional<double> Gguf::find_double(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto number = value->as_double();
    if (!number) wrong_type(*this, key, *value, "a number");
    return number;
}

std::optional<bool> Gguf::find_bool(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto flag = value->as_bool();
    if (!flag) wrong_type(*this, key, *value, "a bool");
    return flag;
}

std::optional<std::string_view> Gguf::find_string(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto text = value->as_string();
    if (!text) wrong_type(*this, key, *value, "a string");
    return text;
}

const GgufArray* Gguf::find_array(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return nullptr;
    const GgufArray* array = value->as_array();
    if (array == nullptr) wrong_type(*this, key, *value, "an array");
    return array;
}

std::uint64_t Gguf::require_uint(std::string_view key) const {
    const auto value = find_uint(key);
    if (!value) missing(*this, key);
    return *value;
}

double Gguf::require_double(std::string_view key) const {
    const auto value = find_double(key);
    if (!value) missing(*this, key);
    return *value;
}

std::string_view Gguf::require_string(std::string_view key) const {
    const auto value = find_string(key);
    if (!value) missing(*this, key);
    return *value;
}

}  // namespace greenroom::quant
