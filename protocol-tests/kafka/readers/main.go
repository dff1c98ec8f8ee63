// Readers in Go: franz-go and Sarama print one JSON line per partition, byte for byte as Dump.java
// does with --typeless, so that five clients can be compared by `diff`.
// They read from the starts to the last records that --until names (an output of Dump), wait a
// little for what should not come, and never commit.
//
//	readers franz|sarama --bootstrap B --until FILE [--isolation read_committed] [--kafka 2.8.0]
//	readers member --bootstrap B --topic T --group G --count N     (what it does says member.go)
//	readers writer --bootstrap B                                   (what it does says writer.go)
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"sync"
	"time"
)

// Header is one of a record; names may come twice and values may be null.
type Header struct{ Key, Value []byte }

// Record is all that a client sees of one.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	TimeMs     int64
	Key, Value []byte
	Headers    []Header
}

// Seen is one partition: what is asked, and what has come.
type Seen struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Records   int64  `json:"records"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Sha256    string `json:"sha256"`

	wanted int64
	digest hash.Hash
}

type place struct {
	topic     string
	partition int32
}

// Reading is a reading under way.
type Reading struct {
	mutex sync.Mutex
	order []*Seen
	at    map[place]*Seen
	// when the last record came
	moved time.Time
}

const (
	// how long nothing may come before all that was asked has come
	quietMax = 60 * time.Second
	// how long to wait behind the last record for one too many
	linger = 2 * time.Second
)

func load(file string) (*Reading, error) {
	input, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer input.Close()
	reading := &Reading{at: map[place]*Seen{}, moved: time.Now()}
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		seen := &Seen{}
		if err := json.Unmarshal(lines.Bytes(), seen); err != nil {
			return nil, err
		}
		seen.wanted, seen.digest = seen.Last, sha256.New()
		seen.Records, seen.First, seen.Last = 0, -1, -1
		reading.order = append(reading.order, seen)
		reading.at[place{seen.Topic, seen.Partition}] = seen
	}
	return reading, lines.Err()
}

func (r *Reading) add(record Record) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	seen := r.at[place{record.Topic, record.Partition}]
	if seen == nil || record.Offset >= seen.End {
		return
	}
	seen.digest.Write(canonical(record))
	if seen.First < 0 {
		seen.First = record.Offset
	}
	seen.Last = record.Offset
	seen.Records++
	r.moved = time.Now()
}

func (r *Reading) isComplete() bool {
	for _, seen := range r.order {
		if seen.Last < seen.wanted {
			return false
		}
	}
	return true
}

// wait returns when everything has come, and a little later, or nothing more does.
func (r *Reading) wait() {
	for {
		time.Sleep(100 * time.Millisecond)
		r.mutex.Lock()
		quiet, complete := time.Since(r.moved), r.isComplete()
		r.mutex.Unlock()
		if quiet > quietMax || complete && quiet > linger {
			return
		}
	}
}

func (r *Reading) print() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, seen := range r.order {
		seen.Sha256 = fmt.Sprintf("%x", seen.digest.Sum(nil))
		line, _ := json.Marshal(seen)
		fmt.Println(string(line))
	}
}

// offset, timestamp, no type, key, value, headers: lengths before bytes, big-endian.
func canonical(record Record) []byte {
	to := binary.BigEndian.AppendUint64(nil, uint64(record.Offset))
	to = binary.BigEndian.AppendUint64(to, uint64(record.TimeMs))
	to = append(to, 0)
	to = put(put(to, record.Key), record.Value)
	to = binary.BigEndian.AppendUint32(to, uint32(len(record.Headers)))
	for _, header := range record.Headers {
		key := header.Key
		if key == nil {
			key = []byte{}
		}
		to = put(put(to, key), header.Value)
	}
	return to
}

func put(to, bytes []byte) []byte {
	if bytes == nil {
		return binary.BigEndian.AppendUint32(to, ^uint32(0))
	}
	return append(binary.BigEndian.AppendUint32(to, uint32(len(bytes))), bytes...)
}

func millis(at time.Time) int64 {
	if at.IsZero() {
		return -1
	}
	return at.UnixMilli()
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("readers franz|sarama --bootstrap B --until FILE"))
	}
	options := map[string]string{}
	for n := 2; n+1 < len(os.Args); n += 2 {
		options[os.Args[n]] = os.Args[n+1]
	}
	works := map[string]func(map[string]string) error{"member": member, "writer": writer}
	if work := works[os.Args[1]]; work != nil {
		if err := work(options); err != nil {
			fail(err)
		}
		return
	}
	reading, err := load(options["--until"])
	if err != nil {
		fail(err)
	}
	read := map[string]func(*Reading, map[string]string) error{"franz": franz, "sarama": sarama}
	start := read[os.Args[1]]
	if start == nil {
		fail(fmt.Errorf("no reader is called %s", os.Args[1]))
	}
	if err := start(reading, options); err != nil {
		fail(err)
	}
	reading.print()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "readers:", err)
	os.Exit(1)
}
