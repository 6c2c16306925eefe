;; The shell of every hostile component: it implements the guest interface of `sdk/wit/plugin.wit` honestly, and each
;; example replaces the parts between `;; begin NAME` and `;; end NAME` by those of its `attack.wat` (see `build.py`).
;; `$"text"` stands for two constants, the address and the length of a text that `build.py` puts into memory.
;;
;; Memory: results at 64, headers at 512, texts from 1024, and from 65536 on whatever the kernel hands in.
(component
  ;; begin imports
  ;; end imports

  (core module $room
    (memory (export "memory") 2)
    (global $free (export "free") (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $new)))
      (block $fits
        (loop $more
          (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
          (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
          (br $more)))
      (local.get $at)))
  (core instance $room (instantiate $room))

  ;; begin lowered
  ;; end lowered

  (core module $plugin
    ;; begin core-imports
    ;; end core-imports
    (import "room" "memory" (memory 2))
    (import "room" "free" (global $free (mut i32)))
    (global $handled (mut i32) (i32.const 0)) ;; the messages this instance handled
    (global $asked (mut i32) (i32.const 0))   ;; how often it was asked for its health
    ;; texts

    ;; Results.
    (func $text (param $at i32) (param $size i32) (result i32)
      (i32.store (i32.const 64) (local.get $at))
      (i32.store (i32.const 68) (local.get $size))
      (i32.const 64))
    (func $ok (result i32)
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.const 64))
    (func $answer (param $at i32) (param $size i32) (result i32)
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store (i32.const 68) (local.get $at))
      (i32.store (i32.const 72) (local.get $size))
      (i32.const 64))
    (func $digit (param $value i32) (result i32)
      (i32.store8 (i32.const 256) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (call $answer (i32.const 256) (i32.const 1)))
    (func $well (param $ok i32) (param $at i32) (param $size i32) (result i32)
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store8 (i32.const 68) (local.get $ok))
      (i32.store (i32.const 72) (local.get $at))
      (i32.store (i32.const 76) (local.get $size))
      (i32.store (i32.const 80) (i32.const 260))
      (i32.store (i32.const 84) (i32.const 2))
      (i32.store16 (i32.const 260) (i32.const 0x7d7b)) ;; the details: {}
      (i32.const 64))

    ;; begin functions
    ;; end functions

    (func (export "describe") (result i32)
      ;; begin describe
      (call $text $"{\"handlers\":[],\"state-version\":1}")
      ;; end describe
    )
    (func (export "start") (result i32)
      ;; begin start
      (call $ok)
      ;; end start
    )
    (func (export "stop") (result i32) (call $ok))
    (func (export "health") (result i32)
      (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
      ;; begin health
      (call $well (i32.const 1) (i32.const 260) (i32.const 0))
      ;; end health
    )
    (func $handle (export "handle") (param $message i32) (result i32)
      (global.set $free (i32.const 65536)) ;; nothing of the message before is needed
      (global.set $handled (i32.add (global.get $handled) (i32.const 1)))
      ;; begin handle
      (call $digit (global.get $handled))
      ;; end handle
    )
    (func (export "export-state") (result i32) (call $digit (global.get $handled)))
    (func (export "import-state") (param $version i32) (param $at i32) (param $size i32) (result i32)
      ;; begin import-state
      (global.set $handled (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (call $ok)
      ;; end import-state
    ))
  (core instance $plugin (instantiate $plugin (with "room" (instance $room))
    ;; begin arguments
    ;; end arguments
  ))

  (type $failure-type (record (field "code" string) (field "message" string) (field "hint" string)
    (field "address" string)))
  (export $failure "failure" (type $failure-type))
  (type $message-type (record (field "subject" string) (field "data" string) (field "source" string)
    (field "id" string) (field "time" f64) (field "tenant" string) (field "principal" string) (field "trace" string)
    (field "remaining" (option f64)) (field "headers" (list (tuple string string)))))
  (export $message "message" (type $message-type))
  (type $health-type (record (field "ok" bool) (field "reason" string) (field "details" string)))
  (export $health-report "health-report" (type $health-type))
  (alias core export $room "memory" (core memory $memory))
  (alias core export $room "realloc" (core func $realloc))
  (func $describe (result string)
    (canon lift (core func $plugin "describe") (memory $memory) (realloc $realloc)))
  (func $start (result (result (error $failure)))
    (canon lift (core func $plugin "start") (memory $memory) (realloc $realloc)))
  (func $stop (result (result (error $failure)))
    (canon lift (core func $plugin "stop") (memory $memory) (realloc $realloc)))
  (func $health (result (result $health-report (error $failure)))
    (canon lift (core func $plugin "health") (memory $memory) (realloc $realloc)))
  (func $handle (param "handler" u32) (param "message" $message) (result (result string (error $failure)))
    (canon lift (core func $plugin "handle") (memory $memory) (realloc $realloc)))
  (func $export-state (result (result string (error $failure)))
    (canon lift (core func $plugin "export-state") (memory $memory) (realloc $realloc)))
  (func $import-state (param "version" u32) (param "state" string) (result (result (error $failure)))
    (canon lift (core func $plugin "import-state") (memory $memory) (realloc $realloc)))
  (instance $guest
    (export "failure" (type $failure)) (export "message" (type $message))
    (export "health-report" (type $health-report))
    (export "describe" (func $describe)) (export "start" (func $start)) (export "stop" (func $stop))
    (export "health" (func $health)) (export "handle" (func $handle))
    (export "export-state" (func $export-state)) (export "import-state" (func $import-state)))
  (export "rustcare:plugin/guest@0.1.0" (instance $guest)))
