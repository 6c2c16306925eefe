/* The guest interface of RustCare Engine for C, over Extism: what a plugin exports, what it may import, and enough JSON
 * to get by. Names and payloads are those of plugin.wit. Needs no C library.
 */
#ifndef RUSTCARE_H
#define RUSTCARE_H

#include <stddef.h>
#include <stdint.h>

#define RUSTCARE_EXPORT(name) __attribute__((export_name(#name))) int32_t name(void)
#define RUSTCARE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* Extism's own functions. Places are offsets in Extism's memory, not pointers. */
RUSTCARE_IMPORT("extism:host/env", "input_length") extern uint64_t extism_input_length(void);
RUSTCARE_IMPORT("extism:host/env", "input_load_u8") extern uint32_t extism_input_load_u8(uint64_t at);
RUSTCARE_IMPORT("extism:host/env", "output_set") extern void extism_output_set(uint64_t at, uint64_t size);
RUSTCARE_IMPORT("extism:host/env", "alloc") extern uint64_t extism_alloc(uint64_t size);
RUSTCARE_IMPORT("extism:host/env", "free") extern void extism_free(uint64_t at);
RUSTCARE_IMPORT("extism:host/env", "length") extern uint64_t extism_length(uint64_t at);
RUSTCARE_IMPORT("extism:host/env", "load_u8") extern uint32_t extism_load_u8(uint64_t at);
RUSTCARE_IMPORT("extism:host/env", "store_u8") extern void extism_store_u8(uint64_t at, uint32_t byte);

/* Text that is being written; it says so when it does not fit. */
typedef struct {
    char *data;
    size_t size, room;
    int full;
} rc_text;

static inline void rc_put(rc_text *text, const char *part) {
    for (; *part; part++) {
        if (text->size + 1 >= text->room) {
            text->full = 1;
            return;
        }
        text->data[text->size++] = *part;
    }
    text->data[text->size] = 0;
}

/* A number with one decimal. */
static inline void rc_put_tenths(rc_text *text, double value) {
    char digits[24], *at = digits + sizeof digits - 1;
    int64_t tenths = (int64_t)(value * 10 + (value < 0 ? -0.5 : 0.5));
    int negative = tenths < 0;
    if (negative) tenths = -tenths;
    *at = 0;
    *--at = (char)('0' + tenths % 10);
    *--at = '.';
    tenths /= 10;
    do *--at = (char)('0' + tenths % 10);
    while (tenths /= 10);
    if (negative) *--at = '-';
    rc_put(text, at);
}

/* The input, as text; NULL when it does not fit. */
static inline const char *rc_input(char *room, size_t size) {
    uint64_t length = extism_input_length();
    if (length >= size) return NULL;
    for (uint64_t at = 0; at < length; at++) room[at] = (char)extism_input_load_u8(at);
    room[length] = 0;
    return room;
}

static inline uint64_t rc_share(const char *text) {
    uint64_t size = 0;
    while (text[size]) size++;
    uint64_t place = extism_alloc(size);
    for (uint64_t at = 0; at < size; at++) extism_store_u8(place + at, (uint8_t)text[at]);
    return place;
}

/* Answer with a text; what an export returns. */
static inline int32_t rc_answer(const char *text) {
    uint64_t place = rc_share(text);
    extism_output_set(place, extism_length(place));
    return 0;
}

/* Call a host function with a JSON object; whether its answer is {"ok": …}. */
static inline int rc_host(uint64_t (*function)(uint64_t), const char *json) {
    static const char expected[] = "{\"ok\":";
    uint64_t given = rc_share(json), answer = function(given);
    int ok = answer && extism_length(answer) >= sizeof expected - 1;
    for (size_t at = 0; ok && at < sizeof expected - 1; at++)
        ok = extism_load_u8(answer + at) == (uint8_t)expected[at];
    extism_free(given);
    if (answer) extism_free(answer);
    return ok;
}

/* What follows `"key":` anywhere in the text, or NULL. Good for objects whose keys are known to be there once. */
static inline const char *rc_find(const char *json, const char *key) {
    if (!json) return NULL;
    for (; *json; json++) {
        if (*json != '"') continue;
        const char *at = json + 1, *wanted = key;
        while (*wanted && *at == *wanted) at++, wanted++;
        if (*wanted || *at != '"') continue;
        for (at++; *at == ' '; at++);
        if (*at != ':') continue;
        for (at++; *at == ' '; at++);
        return at;
    }
    return NULL;
}

/* The number at a place; 0 when there is none. */
static inline int rc_number(const char *at, double *value) {
    double found = 0, scale = 1;
    int negative = 0, digits = 0;
    if (!at) return 0;
    if (*at == '-') negative = 1, at++;
    for (; *at >= '0' && *at <= '9'; at++, digits++) found = found * 10 + (*at - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, digits++) found += (*at - '0') * (scale /= 10);
    *value = negative ? -found : found;
    return digits > 0;
}

#endif
