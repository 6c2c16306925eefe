;; What an example that publishes needs beside `guest.wat`: `;; use bus` in an `attack.wat` brings it in.

;; begin imports
(import "rustcare:plugin/bus@0.1.0" (instance $bus
  (type $failure-type (record (field "code" string) (field "message" string) (field "hint" string)
    (field "address" string)))
  (export "failure" (type $failure (eq $failure-type)))
  (type $delivery-type (record (field "receivers" u32) (field "handled" u32) (field "failures" (list string))))
  (export "delivery" (type $delivery (eq $delivery-type)))
  (export "publish" (func (param "subject" string) (param "data" string)
    (param "headers" (list (tuple string string))) (result (result (error $failure)))))
  (export "publish-confirmed" (func (param "subject" string) (param "data" string)
    (param "headers" (list (tuple string string))) (result (result $delivery (error $failure)))))))
;; end imports

;; begin lowered
(core func $publish (canon lower (func $bus "publish")
  (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
(core func $publish-confirmed (canon lower (func $bus "publish-confirmed")
  (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
(core instance $bus-functions
  (export "publish" (func $publish)) (export "publish-confirmed" (func $publish-confirmed)))
;; end lowered

;; begin core-imports
;; subject, data and headers (address and length each), and where the result goes: its failure lies 4 bytes behind its
;; tag, just as in what `handle` returns, so that it can be handed on as it is.
(import "bus" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32)))
(import "bus" "publish-confirmed" (func $publish-confirmed (param i32 i32 i32 i32 i32 i32 i32)))
;; end core-imports

;; begin arguments
(with "bus" (instance $bus-functions))
;; end arguments

;; begin functions
(func $header (param $index i32) (param $name i32) (param $named i32) (param $value i32) (param $valued i32)
  (local $at i32)
  (local.set $at (i32.add (i32.const 512) (i32.shl (local.get $index) (i32.const 4))))
  (i32.store (local.get $at) (local.get $name))
  (i32.store offset=4 (local.get $at) (local.get $named))
  (i32.store offset=8 (local.get $at) (local.get $value))
  (i32.store offset=12 (local.get $at) (local.get $valued)))
;; end functions
