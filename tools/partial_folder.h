#pragma once

// PartialFolder: a folder whose files appear all together when they are complete. Until commit() they are in
// the folder `partial` in it, which is gone if anything fails; what was there before stays as it was.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace greenroom::tools {

class PartialFolder {
  public:
    // Makes the folder and those above it. Its files will have some of these names, which must outlive this;
    // where they are taken they are replaced. Error{bad_input} when the folder holds anything else, {io}.
    PartialFolder(const std::string& path, std::span<const std::string_view> file_names);
    ~PartialFolder();
    PartialFolder(const PartialFolder&) = delete;
    PartialFolder& operator=(const PartialFolder&) = delete;

    // Error{io} when the disk has less room than this.
    void check_room(std::int64_t bytes) const;

    // Where the files are to be written.
    std::string partial_path() const { return partial_path_.string(); }

    // All files are written: they replace those that were there. The first name comes last, so that it stands
    // for the whole. Error{io}.
    void commit();

  private:
    std::filesystem::path path_;
    std::filesystem::path partial_path_;
    std::span<const std::string_view> file_names_;
    bool is_new_ = false;
    bool committed_ = false;
};

}  // namespace greenroom::tools
