/* A RustCare plugin in C: it answers `vitals.bmi` and looks for fever in `vitals.measured`. */
#include "rustcare.h"

/* Only what the manifest asks for can be imported. */
RUSTCARE_IMPORT("rustcare:plugin/bus@0.1.0", "publish") extern uint64_t bus_publish(uint64_t json);

enum { BMI, MEASURED }; /* the handlers, in the order of the description */

RUSTCARE_EXPORT(rustcare_describe) {
    return rc_answer("{\"state-version\":1,\"lifecycle\":[],\"handlers\":["
                     "{\"kind\":\"serve\",\"subject\":\"vitals.bmi\"},"
                     "{\"kind\":\"subscribe\",\"subject\":\"vitals.measured\"}]}");
}

static int32_t refuse(const char *code, const char *message, const char *hint) {
    char room[512];
    rc_text text = {room, 0, sizeof room, 0};
    rc_put(&text, "{\"err\":{\"code\":\"");
    rc_put(&text, code);
    rc_put(&text, "\",\"message\":\"");
    rc_put(&text, message);
    rc_put(&text, "\",\"hint\":\"");
    rc_put(&text, hint);
    rc_put(&text, "\",\"address\":\"\"}}");
    return rc_answer(room);
}

static int32_t body_mass_index(const char *data) {
    double weight, height;
    if (!rc_number(rc_find(data, "weight_kg"), &weight) || !rc_number(rc_find(data, "height_m"), &height))
        return refuse("bus.invalid-payload", "expected weight_kg and height_m", "both are numbers");
    if (height < 0.3 || height > 3 || weight <= 0)
        return refuse("vitals.out-of-range", "expected a height of 0.3 to 3 m and a weight above 0", "mind the units");
    double index = weight / (height * height);
    char room[128];
    rc_text text = {room, 0, sizeof room, 0};
    rc_put(&text, "{\"ok\":{\"bmi\":");
    rc_put_tenths(&text, index);
    rc_put(&text, ",\"class\":\"");
    rc_put(&text, index < 18.5 ? "underweight" : index < 25 ? "normal" : index < 30 ? "overweight" : "obese");
    rc_put(&text, "\"}}");
    return rc_answer(room);
}

static int32_t measured(const char *data) {
    double temperature;
    if (!rc_number(rc_find(data, "temperature_c"), &temperature) || temperature < 38.0) return rc_answer("{\"ok\":null}");
    char room[128];
    rc_text text = {room, 0, sizeof room, 0};
    rc_put(&text, "{\"subject\":\"vitals.flagged\",\"data\":{\"reason\":\"fever\",\"temperature_c\":");
    rc_put_tenths(&text, temperature);
    rc_put(&text, "}}");
    if (!rc_host(bus_publish, room)) return refuse("vitals.not-flagged", "the kernel refused vitals.flagged", "see the grants");
    return rc_answer("{\"ok\":null}");
}

RUSTCARE_EXPORT(rustcare_handle) {
    static char room[65536];
    const char *input = rc_input(room, sizeof room);
    const char *data = rc_find(input, "data");
    double handler;
    if (!data || !rc_number(rc_find(input, "handler"), &handler))
        return refuse("bus.invalid-payload", "expected a message of less than 64 KiB", "send less");
    return (int)handler == BMI ? body_mass_index(data) : measured(data);
}
