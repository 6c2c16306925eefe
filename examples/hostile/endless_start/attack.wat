;; Never returns from `start`, so it never comes to handle anything.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.endless-start\"}],\"state-version\":1,\"lifecycle\":[\"start\"]}")
;; end describe

;; begin start
(loop $forever (br $forever))
unreachable
;; end start
