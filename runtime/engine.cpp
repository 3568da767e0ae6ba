#include "runtime/engine.h"

#include "cpu/kernels.h"
#include "cpu/ops.h"
#include "cpu/parallel.h"
#include "cpu/topology.h"
#include "quant/base/error.h"
#include "runtime/arch/registry.h"
#include "runtime/available_memory.h"
#include "runtime/evaluator.h"
#include "runtime/gpu_tuning.h"
#include "runtime/memory_plan.h"
#include "runtime/scheduler.h"

#include <algorithm>
#include <utility>

namespace greenroom::runtime {
namespace {

// What the program takes after the memory has been shared out: stacks, queues, the text.
constexpr std::int64_t kProgramGrowth = 12 << 20;

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

std::unique_ptr<Engine> Engine::open(const std::string& path, const ThreadOptions& threads) {
    quant::Gguf file = quant::Gguf::open(path);
    if (file.tensors().empty())
        fail(ErrorKind::bad_input,
             "{}: holds no tensors: a vocabulary, not a model. `tokenize` and `inspect` work on it", path);
    return std::unique_ptr<Engine>(new Engine(std::move(file), threads));
}

std::unique_ptr<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
    std::unique_ptr<Engine> engine = open(path, options.threads);
    LoadOptions load = options.load;
    if (!load.progress) load.progress = options.progress;
    engine->load_weights(load);
    return engine;
}

Engine::Engine(quant::Gguf file, const ThreadOptions& threads)
    : file_(std::move(file)),
      spec_(read_model_spec(file_)),
      weights_(bind_weights(file_, spec_)),
      tokenizer_(text::Tokenizer::load(file_)),
      n_threads_(threads.n_threads > 0 ? threads.n_threads : cpu::default_thread_count()),
      n_threads_batch_(threads.n_threads_batch > 0 ? threads.n_threads_batch : n_threads_),
      threads_(std::make_unique<cpu::ThreadTeam>(std::max(n_threads_, n_threads_batch_), threads.placement)) {
    cpu::kernels();  // an impossible GREENROOM_ISA is an error here, not in the middle of an answer
}

Engine::~Engine() {
    // It reads what experts_ holds. The reader before the memory that it writes to.
    gpu_.reset();
    reader_.reset();
}

std::optional<LayerRange> Engine::gpu_layers(const GpuOptions& options, const SessionOptions& session) const {
    try {
        return GpuLane::plan(gpu_model(), options, plan_session(spec_, file_.path(), session, team_size()), 1)
            .layers;
    } catch (const Error&) {
        return std::nullopt;
    }
}

// Empty where the CPU does everything.
std::optional<GpuPlan> Engine::plan_gpu(const LoadOptions& options, const SessionPlan& session) {
    if (options.gpu.use == GpuOptions::Use::off) return std::nullopt;
    try {
        return GpuLane::plan(gpu_model(), options.gpu, session, options.n_sessions);
    } catch (const Error& error) {
        if (options.gpu.use == GpuOptions::Use::on) {
            if (error.kind() == ErrorKind::out_of_memory) throw;
            fail(error.kind(), "{}. The CPU alone is -ngl 0, without --vram", error.what());
        }
        why_no_gpu_ = error.what();
        return std::nullopt;
    }
}

// With what is measured of the GPU where that is asked for. Before the experts take their memory.
GpuOptions Engine::tuned(const GpuOptions& options) const {
    GpuOptions gpu = options;
    if (!gpu_plan_ || gpu.tuning || !gpu.measures || layouts_->n_layers() == 0) return gpu;
    QuickTuneOptions quick;
    quick.memory_bytes = std::min(quick.memory_bytes, budget_.total / 8);
    gpu.tuning = tune_quickly(spec_, weights_, *threads_, quick);
    return gpu;
}

std::int64_t Engine::ram_bytes_of(const SessionPlan& session) const {
    return gpu_plan_ ? bytes_beside_gpu(spec_, session, gpu_plan_->layers) : session.memory.total();
}

void Engine::load_weights(const LoadOptions& options) {
    GR_CHECK(reader_ == nullptr);
    const SessionPlan session = plan_session(spec_, file_.path(), options.session, team_size());
    reader_ = std::make_unique<cache::SsdReader>(file_.part_paths(), options.reader);
    gpu_plan_ = plan_gpu(options, session);
    const LayerRange cpu_layers =
        gpu_plan_ ? LayerRange{0, gpu_plan_->layers.first} : all_layers(spec_.n_layers());
    resident_ = std::make_unique<ResidentWeights>(file_, weights_, cpu_layers, reader_->alignment());
    layouts_ = std::make_unique<ExpertLayouts>(file_, spec_, weights_, reader_->alignment());

    MemoryNeeds needs;
    needs.program = resident_set_bytes() + kProgramGrowth;
    needs.staging = gpu_plan_ ? gpu_plan_->staging_bytes : 0;
    needs.resident = resident_->bytes();
    needs.sessions = options.n_sessions * ram_bytes_of(session);
    if (layouts_->n_layers() > 0) {
        const cache::SlotPlanOptions plan = layouts_->plan_options(options.experts.scope, 0);
        needs.program += cache::policy_bytes(options.experts.policy, {.n_layers = layouts_->n_layers(),
                                                                      .n_experts = layouts_->n_experts(),
                                                                      .top_k = layouts_->top_k()});
        needs.program += gpu_plan_ ? gpu_plan_->ring_bytes : 0;
        needs.least_experts = cache::SlotPlan::least_bytes(layouts_->layer_slot_bytes(), plan);
        needs.most_experts = cache::SlotPlan::most_bytes(layouts_->layer_slot_bytes(), plan);
    }
    if (options.max_expert_bytes > 0)
        needs.most_experts = std::clamp(options.max_expert_bytes, needs.least_experts,
                                        std::max(needs.least_experts, needs.most_experts));
    budget_ = share_out_memory(file_.path(), needs, options.ram_bytes, available_memory_bytes());
    session_bytes_left_ = budget_.sessions;

    const GpuOptions gpu = tuned(options.gpu);
    if (layouts_->n_layers() > 0)
        experts_ = std::make_unique<RamTier>(*layouts_, weights_, *reader_, options.experts, budget_.experts);
    read_resident_weights(options, gpu, session);
}

// The GPU's first, from the files alone; then the CPU's. In one progress.
void Engine::read_resident_weights(const LoadOptions& options, const GpuOptions& gpu,
                                   const SessionPlan& session) {
    const auto part_of_all = [&options](std::int64_t before, std::int64_t after) {
        if (!options.progress) return ProgressFn();
        return ProgressFn(
            [&options, before, after](std::string_view what, std::int64_t done, std::int64_t total) {
                options.progress(what, before + done, before + total + after);
            });
    };
    std::int64_t on_gpu_bytes = 0;
    if (gpu_plan_) {
        gpu_ = GpuLane::open(gpu_model(), gpu, *gpu_plan_, session, options.n_sessions,
                             part_of_all(0, resident_->bytes()));
        on_gpu_bytes = gpu_plan_->resident_bytes;
    }
    resident_->load(*reader_, weights_, part_of_all(on_gpu_bytes, 0));
}

Engine::SessionMemoryShare Engine::reserve_for_session(const SessionPlan& plan) const {
    // What lies in the GPU's memory is looked at when it is taken.
    const std::int64_t bytes = ram_bytes_of(plan);
    std::int64_t left = session_bytes_left_;
    do {
        if (gpu_ == nullptr)
            check_plan(plan.memory, plan.layout, left);
        else if (bytes > left)
            fail(ErrorKind::out_of_memory,
                 "a session needs {:.1f} MiB of memory beside the GPU; {:.1f} MiB are left. Use a smaller "
                 "batch (-b) or context (-c)",
                 mib(bytes), mib(left));
    } while (!session_bytes_left_.compare_exchange_weak(left, left - bytes));
    return {session_bytes_left_, bytes};
}

std::optional<GpuUsage> Engine::gpu_usage() const {
    if (gpu_ == nullptr) return std::nullopt;
    const std::scoped_lock turn(evaluation_mutex_);
    return gpu_->usage();
}

std::unique_ptr<Evaluator> Engine::make_evaluator(const SessionPlan& plan) const {
    if (gpu_ != nullptr) return gpu_->make_evaluator(plan);
    auto ops =
        std::make_unique<cpu::Ops>(threads(), scratch_floats_needed(spec_, plan.context_tokens),
                                   activation_blocks_needed(spec_, plan.batch_tokens, plan.activations),
                                   product_planes(plan.activations));
    auto experts =
        std::make_unique<ExpertScheduler>(spec_, weights_, *ops, experts_.get(), plan.batch_tokens);
    return std::make_unique<ForwardEvaluator<cpu::Ops, ExpertScheduler>>(
        spec_, all_layers(spec_.n_layers()), weights_, plan, std::move(ops), std::move(experts));
}

int Engine::team_size() const noexcept { return threads_->size(); }

void Engine::use_threads_for(std::int64_t n_tokens) const noexcept {
    threads_->set_active(n_tokens > 1 ? n_threads_batch_ : n_threads_);
}

}  // namespace greenroom::runtime
