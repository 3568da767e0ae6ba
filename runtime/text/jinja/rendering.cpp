#include "runtime/text/jinja/rendering.h"

#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/scope.h"

namespace greenroom::text::jinja {

Rendering::Rendering(const RenderOptions& options) : budget_(options.limits), now_(options.now) {}

Rendering::~Rendering() {
    for (const auto& space : namespaces_) space->attributes.clear();
    for (const auto& scope : scopes_) scope->clear();
}

Value Rendering::new_namespace(Dict attributes) {
    namespaces_.push_back(std::make_shared<Namespace>(Namespace{std::move(attributes)}));
    return Value(namespaces_.back());
}

void Rendering::keep(std::shared_ptr<Scope> scope) {
    if (scope->is_kept()) return;
    scope->mark_kept();
    scopes_.push_back(std::move(scope));
}

}  // namespace greenroom::text::jinja
