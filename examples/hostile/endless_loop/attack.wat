;; Loops forever, on a request and on an event that others wait for too.
;; Its fuel would last for minutes, so that its time is what runs out.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.endless-loop\"},{\"kind\":\"subscribe\",\"subject\":\"ward.tick\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin handle
(loop $forever (br $forever))
unreachable
;; end handle
