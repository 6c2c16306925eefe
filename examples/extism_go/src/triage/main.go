// A RustCare plugin in Go: it answers triage.assess with an urgency, counts each level and publishes what it found.
package main

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
)

type arrival struct {
	HeartRate   int     `json:"heart_rate"`
	Breaths     int     `json:"breaths_per_min"`
	Saturation  int     `json:"oxygen_saturation"`
	Temperature float64 `json:"temperature_c"`
	Alert       bool    `json:"alert"`
}

type assessment struct {
	Level   string   `json:"level"`
	Score   int      `json:"score"`
	Reasons []string `json:"reasons"`
	Count   int      `json:"count"`
}

// points is a simplified early-warning score: an example, not for use on people.
func points(a arrival) (int, []string) {
	score, reasons := 0, []string{}
	add := func(when bool, value int, reason string) {
		if when {
			score += value
			reasons = append(reasons, reason)
		}
	}
	add(a.HeartRate > 130 || a.HeartRate < 40, 3, "heart rate")
	add(a.HeartRate > 110 && a.HeartRate <= 130, 2, "heart rate")
	add(a.Breaths >= 25 || a.Breaths <= 8, 3, "breathing")
	add(a.Saturation <= 91, 3, "oxygen saturation")
	add(a.Saturation > 91 && a.Saturation <= 93, 2, "oxygen saturation")
	add(a.Temperature >= 39.1 || a.Temperature <= 35.0, 2, "temperature")
	add(!a.Alert, 3, "not alert")
	return score, reasons
}

func assess(m message) (any, error) {
	var a arrival
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return nil, failure{Code: "bus.invalid-payload", Message: "expected the vital signs of an arrival", Hint: "numbers, and alert as true or false"}
	}
	score, reasons := points(a)
	level := "routine"
	if score >= 7 {
		level = "emergency"
	} else if score >= 4 {
		level = "urgent"
	}
	key := "count." + level
	before, err := call(kvGet, map[string]any{"key": key})
	if err != nil {
		return nil, err
	}
	count := 1
	var stored []byte
	if json.Unmarshal(before, &stored) == nil { // bytes are base64 in JSON, in Go too
		if seen, err := strconv.Atoi(string(stored)); err == nil {
			count = seen + 1
		}
	}
	value := base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(count)))
	if _, err := call(kvPut, map[string]any{"key": key, "value": value}); err != nil {
		return nil, err
	}
	found := assessment{level, score, reasons, count}
	if _, err := call(busPublish, map[string]any{"subject": "triage.assessed", "data": found}); err != nil {
		return nil, err
	}
	return found, nil
}

func init() {
	serve("triage.assess", assess)
}

func main() {}
