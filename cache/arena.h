#pragma once

// Arena: the one region of RAM that holds all slots. Its size is fixed; nothing else is ever asked of the
// system.
//
// Memory is committed where it is first written to, page by page, unless asked for at once. Pages are as
// large as the system gives them: a slot of some megabytes in pages of 4 KiB costs the processor a thousand
// translations and the kernel as many steps to pin for a direct read. On a machine with several NUMA nodes
// pages are dealt out to them in turn, so that all memory controllers take part in reading any expert.
//
// Not movable, so that addresses stay. Any thread.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace greenroom::cache {

enum class ArenaPages {
    // Huge pages that the administrator has set aside (hugetlbfs), if they suffice: these are committed at
    // once, since
    // they serve nobody else. Else transparent.
    automatic,
    transparent,  // huge where the kernel can make them so
    normal,
};

enum class ArenaCommit { on_use, at_once };

struct ArenaOptions {
    static constexpr int kInterleave = -1;  // over all NUMA nodes that the process may use
    static constexpr int kLocal = -2;       // wherever the thread is that writes first

    ArenaPages pages = ArenaPages::automatic;
    ArenaCommit commit = ArenaCommit::on_use;
    int numa_node = kInterleave;  // or the number of a node, as hwloc and numactl count them
};

class Arena {
  public:
    // Error{out_of_memory} when the system refuses so much, {bad_input} for a node that there is not. A
    // system that cannot do as the options say is no error, describe() tells. bytes > 0.
    explicit Arena(std::int64_t bytes, const ArenaOptions& options = {});
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::byte* data() const noexcept { return data_; }  // at a multiple of 2 MiB; zero at first
    std::int64_t bytes() const noexcept { return bytes_; }
    std::span<std::byte> memory() const noexcept { return {data_, static_cast<std::size_t>(bytes_)}; }
    // Where it lies: "transparent huge pages, interleaved over 2 NUMA nodes".
    std::string describe() const;

  private:
    void map_from_pool(const ArenaOptions& options);
    void map(const ArenaOptions& options);
    void place(int numa_node);
    bool populate() noexcept;
    void unmap() noexcept;

    std::int64_t bytes_;
    std::size_t mapped_bytes_;  // rounded up to whole huge pages
    std::byte* data_ = nullptr;
    std::string pages_;
    std::string placement_;
};

}  // namespace greenroom::cache
