;; Asks for memory until there is none, and writes into every page, so that it is really used.
;; Without a limit that would be 4 GiB.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.memory-hog\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin functions
(func $devour
  (local $at i32)
  (loop $more
    (local.set $at (i32.mul (memory.size) (i32.const 65536)))
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
      (then
        (memory.fill (local.get $at) (i32.const 0xee) (i32.const 65536))
        (br $more)))))
;; end functions

;; begin handle
(call $devour)
unreachable
;; end handle
