#pragma once

// A copy of a small model with metadata or tensors changed, left out or added: what a wrong or hostile file
// looks like from above the reader.

#include "quant/gguf.h"
#include "quant/gguf_writer.h"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace greenroom::test {

struct ModelEdit {
    std::set<std::string, std::less<>> drop_keys;
    std::set<std::string, std::less<>> drop_tensors;
    std::function<void(quant::GgufWriter&)> add;  // after the file's own entries
    std::function<TensorView(std::string_view name, TensorView view)>
        map_tensor;  // e.g. another shape or type
};

inline std::vector<std::byte> edit_model(const quant::Gguf& gguf, const ModelEdit& edit) {
    quant::GgufWriter writer;
    for (const quant::GgufEntry& entry : gguf.entries())
        if (!edit.drop_keys.contains(entry.key)) writer.add(entry);
    if (edit.add) edit.add(writer);
    for (const quant::GgufTensor& tensor : gguf.tensors()) {
        if (edit.drop_tensors.contains(tensor.name)) continue;
        writer.add_tensor(tensor.name,
                          edit.map_tensor ? edit.map_tensor(tensor.name, tensor.view) : tensor.view);
    }
    return writer.serialize();
}

}  // namespace greenroom::test
