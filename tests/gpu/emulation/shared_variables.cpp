#include "tests/gpu/emulation/shared_variables.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace greenroom::emulation {
namespace {

// Variables inside of functions of greenroom::gpu, as the Itanium ABI mangles them.
constexpr std::string_view kSharedPrefix = "_ZZN9greenroom3gpu";

struct Symbols {
    std::vector<SharedVariable> shared;
    std::map<std::uintptr_t, std::string> functions;  // by address in the file
};

Symbols read_symbols() {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const auto at = [&file]<class T>(std::size_t offset, T out) {
        if (offset + sizeof(T) > file.size())
            throw std::runtime_error("emulation: /proc/self/exe ends early");
        std::memcpy(&out, file.data() + offset, sizeof(T));
        return out;
    };
    const auto header = at(0, Elf64_Ehdr{});
    Symbols symbols;
    for (std::size_t s = 0; s < header.e_shnum; ++s) {
        const auto section = at(header.e_shoff + s * header.e_shentsize, Elf64_Shdr{});
        if (section.sh_type != SHT_SYMTAB) continue;
        const auto names = at(header.e_shoff + section.sh_link * header.e_shentsize, Elf64_Shdr{});
        for (std::size_t i = 0; i < section.sh_size / sizeof(Elf64_Sym); ++i) {
            const auto symbol = at(section.sh_offset + i * sizeof(Elf64_Sym), Elf64_Sym{});
            const std::string_view name = file.data() + names.sh_offset + symbol.st_name;
            if (ELF64_ST_TYPE(symbol.st_info) == STT_TLS && name.starts_with(kSharedPrefix))
                symbols.shared.push_back({std::string(name), symbol.st_value, symbol.st_size});
            if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value != 0)
                symbols.functions.emplace(symbol.st_value, name);
        }
    }
    if (symbols.functions.empty())
        throw std::runtime_error("emulation: this program is stripped of its symbols");
    return symbols;
}

const Symbols& symbols() {
    static const Symbols all = read_symbols();
    return all;
}

struct Program {
    std::byte* thread_storage = nullptr;
    std::uintptr_t base = 0;
};

// Of the calling thread. The first object is the program itself.
Program find_program() {
    Program program;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
            auto& found = *static_cast<Program*>(out);
            found.thread_storage = static_cast<std::byte*>(info->dlpi_tls_data);
            found.base = info->dlpi_addr;
            return 1;
        },
        &program);
    return program;
}

}  // namespace

const std::vector<SharedVariable>& shared_variables_of(const void* kernel) {
    static std::mutex mu;
    static std::map<const void*, std::vector<SharedVariable>> found;  // never erased from
    const std::lock_guard lock(mu);
    const auto [place, is_new] = found.try_emplace(kernel);
    if (!is_new) return place->second;
    const auto function =
        symbols().functions.find(reinterpret_cast<std::uintptr_t>(kernel) - find_program().base);
    // _Z… is a function, _ZZ…Ename a variable in it.
    const std::string own =
        function == symbols().functions.end() ? "?" : "_Z" + function->second.substr(1) + "E";
    for (const SharedVariable& variable : symbols().shared)
        if (variable.name.starts_with(own) || variable.name.find("_kernel") == std::string::npos)
            place->second.push_back(variable);
    return place->second;
}

void fill(const std::vector<SharedVariable>& variables) {
    static thread_local const Program program = find_program();
    for (const SharedVariable& variable : variables)
        std::memset(program.thread_storage + variable.offset, 0xff, variable.bytes);
}

int n_shared_variables() { return static_cast<int>(symbols().shared.size()); }

std::string function_name(const void* function) {
    const auto found =
        symbols().functions.find(reinterpret_cast<std::uintptr_t>(function) - find_program().base);
    if (found == symbols().functions.end()) return "?";
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(found->second.c_str(), nullptr, nullptr, &status), std::free);
    return status == 0 ? name.get() : found->second;
}

}  // namespace greenroom::emulation
