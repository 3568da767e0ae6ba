#pragma once

// CUDA's small vectors, with its alignments: a misaligned 16-byte access traps on the host as it does on the
// device.

#define GR_VECTORS_OF(T, name, size)                                      \
    struct alignas(2 * (size)) name##2 {                                  \
        T x, y;                                                           \
    };                                                                    \
    struct name##3 {                                                      \
        T x, y, z;                                                        \
    };                                                                    \
    struct alignas(4 * (size)) name##4 {                                  \
        T x, y, z, w;                                                     \
    };                                                                    \
    constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
    constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
    constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

GR_VECTORS_OF(signed char, char, 1)
GR_VECTORS_OF(unsigned char, uchar, 1)
GR_VECTORS_OF(short, short, 2)
GR_VECTORS_OF(unsigned short, ushort, 2)
GR_VECTORS_OF(int, int, 4)
GR_VECTORS_OF(unsigned, uint, 4)
GR_VECTORS_OF(float, float, 4)

#undef GR_VECTORS_OF

struct dim3 {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;

    constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
        : x(x_size), y(y_size), z(z_size) {}
    constexpr dim3(uint3 size) : x(size.x), y(size.y), z(size.z) {}
};
