#pragma once

// PartialFile: a file that gets its name only when it is complete. Until commit() it is NAME.partial, and
// gone if anything fails; a file that had the name before stays as it was. Something that is not a regular
// file (/dev/full) is written directly.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::tools {

class PartialFile {
  public:
    // Creates a file of `bytes` zeros and reserves their space, so that a full disk shows before the work.
    // Error{io}. bytes >= 0.
    PartialFile(const std::string& path, std::int64_t bytes);
    ~PartialFile();
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;

    // Error{io} when the system refuses.
    void write_at(std::int64_t offset, const void* data, std::size_t bytes);

    // All is written: closes the file and gives it its name. Error{io}.
    void commit();

  private:
    void reserve(std::int64_t bytes);
    [[noreturn]] void fail_with(std::string_view what, int error_number) const;

    std::string path_;          // the name it gets
    std::string partial_path_;  // the name it has; the same where the file is written directly
    int fd_ = -1;
};

// A file of these bytes, as PartialFile makes it. Error{io}.
void write_file(const std::string& path, std::string_view bytes);

// Before work whose result write_file() will write: Error{io} where no file of this name can be created.
// Leaves what is there as it is.
void check_can_create(const std::string& path);

}  // namespace greenroom::tools
