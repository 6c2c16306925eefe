// The guest interface of RustCare Engine for Go, over Extism: copy this file into your own plugin.
package main

import (
	"encoding/json"

	"github.com/extism/go-pdk"
)

// What the plugin may call. Each takes the place of a JSON object of its parameters in Extism's memory and gives the
// place of {"ok": …} or {"err": …}. Only what is imported must be granted: leave out what you do not use.

//go:wasmimport rustcare:plugin/bus@0.1.0 publish
func busPublish(uint64) uint64

//go:wasmimport rustcare:plugin/kv@0.1.0 get
func kvGet(uint64) uint64

//go:wasmimport rustcare:plugin/kv@0.1.0 put
func kvPut(uint64) uint64

type message struct {
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
	Tenant  string          `json:"tenant"`
}

// failure is a typed error: its code decides what the caller gets. Its message holds no patient data.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
	Address string `json:"address"`
}

func (f failure) Error() string { return f.Code + ": " + f.Message }

type answer struct {
	Ok  json.RawMessage `json:"ok"`
	Err *failure        `json:"err,omitempty"`
}

type handler struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	handle  func(message) (any, error)
}

var handlers []handler

func serve(service string, handle func(message) (any, error)) {
	handlers = append(handlers, handler{"serve", service, handle})
}

// call asks the kernel.
func call(function func(uint64) uint64, parameters any) (json.RawMessage, error) {
	text, err := json.Marshal(parameters)
	if err != nil {
		return nil, err
	}
	given := pdk.AllocateBytes(text)
	defer given.Free()
	place := pdk.FindMemory(function(given.Offset()))
	defer place.Free()
	var got answer
	if err := json.Unmarshal(place.ReadBytes(), &got); err != nil {
		return nil, err
	}
	if got.Err != nil {
		return nil, *got.Err
	}
	return got.Ok, nil
}

func reply(value any, err error) int32 {
	var out answer
	if err == nil {
		out.Ok, err = json.Marshal(value)
	}
	if err != nil {
		told, ok := err.(failure)
		if !ok { // the text of another error may quote the data
			told = failure{Code: "bus.handler-failed", Message: "the plugin failed"}
		}
		out = answer{Err: &told}
	}
	text, _ := json.Marshal(out)
	pdk.Output(text)
	return 0
}

//go:wasmexport rustcare_describe
func describe() int32 {
	text, _ := json.Marshal(map[string]any{"handlers": handlers, "state-version": 1, "lifecycle": []string{}})
	pdk.Output(text)
	return 0
}

//go:wasmexport rustcare_handle
func handle() int32 {
	var input struct {
		Handler int     `json:"handler"`
		Message message `json:"message"`
	}
	if err := json.Unmarshal(pdk.Input(), &input); err != nil || input.Handler >= len(handlers) {
		return reply(nil, failure{Code: "bus.invalid-payload", Message: "expected a message"})
	}
	return reply(handlers[input.Handler].handle(input.Message))
}
