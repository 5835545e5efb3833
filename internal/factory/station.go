package factory

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/berth-iot/berth/esp/partition"
)

// Config is what a station works with.
type Config struct {
	Recipe  *Recipe
	Journal *Journal
	Open    Open
	// Cloud is not needed with a CA of one's own.
	Cloud Cloud
	// Endpoint and Root are what boards are told with a CA of one's own.
	Endpoint string
	Root     []byte
	// Firmware is written too, where it differs. Table is its partition table; without it the one
	// in the flash is read.
	Firmware []Region
	Table    partition.Table
	// Serials are the numbers for new boards, in their order.
	Serials []string
	// Reissue gives boards that were prepared before a new certificate and revokes the old one.
	Reissue  bool
	Operator string
	Now      func() time.Time // default time.Now
}

// Station prepares boards. Its methods may be called concurrently, one call for each board.
type Station struct {
	cfg      Config
	ownCA    *ownCA
	endpoint string
	root     []byte
	keys     chan []byte

	mu      sync.Mutex
	serials []string        // not given to a board yet
	busy    map[string]bool // MACs
	tables  map[[md5.Size]byte]partition.Table

	stop    context.CancelFunc
	workers sync.WaitGroup
}

// keysAhead is the number of keys that are made before boards need them.
const keysAhead = 16

// New checks the recipe against the cloud and starts to make keys. Close ends that.
func New(ctx context.Context, cfg Config) (_ *Station, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Station{cfg: cfg, busy: make(map[string]bool), tables: make(map[[md5.Size]byte]partition.Table), keys: make(chan []byte, keysAhead), endpoint: cfg.Endpoint, root: cfg.Root}
	if cfg.Recipe.Issue == IssueOwnCA {
		if s.ownCA, err = loadOwnCA(cfg.Recipe, cfg.Now); err != nil {
			return nil, err
		}
	} else {
		if err := cfg.Cloud.CheckPolicies(ctx, cfg.Recipe.Policies); err != nil {
			return nil, err
		}
		if s.endpoint, err = cfg.Cloud.Endpoint(ctx); err != nil {
			return nil, err
		}
		s.root = cfg.Cloud.CA()
	}
	if cfg.Recipe.usesSerial() && len(cfg.Serials) == 0 {
		return nil, fail(ErrRecipe, "give the list of numbers with --serials", "the recipe uses {serial}")
	}
	used, err := cfg.Journal.usedSerials(ctx)
	if err != nil {
		return nil, err
	}
	for _, serial := range cfg.Serials {
		if !used[serial] {
			s.serials = append(s.serials, serial)
		}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if cfg.Recipe.Issue != IssueServerKey {
		s.workers.Go(func() { s.makeKeys(run) })
	}
	return s, nil
}

// Close stops what works ahead.
func (s *Station) Close() {
	s.stop()
	s.workers.Wait()
}

func (s *Station) makeKeys(ctx context.Context) {
	for {
		key, err := makeKey(s.cfg.Recipe.Key)
		if err != nil {
			return // takeKey makes one itself and says why it cannot
		}
		select {
		case s.keys <- key:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Station) takeKey() ([]byte, error) {
	select {
	case key := <-s.keys:
		return key, nil
	default:
		return makeKey(s.cfg.Recipe.Key)
	}
}

// Event tells how far a board is.
type Event struct {
	MAC, Thing string
	Step       Step
	Text       string // what is being done
	Done       int    // of Total bytes, while flash is written
	Total      int
}

// Result is what became of a board.
type Result struct {
	*Record
	// Again is set for a board that was prepared before and still holds its identity.
	Again bool `json:"again,omitempty"`
	// Firmware tells what became of each region of the firmware.
	Firmware []Written `json:"firmware,omitempty"`
}

// Prepare prepares the board on a port. tell is called on the way and may be nil. Whatever happens,
// the journal knows how far the board came; Prepare goes on from there.
func (s *Station) Prepare(ctx context.Context, port string, tell func(Event)) (*Result, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	began := s.cfg.Now()
	tell(Event{Text: "looking for a board"})
	b, err := s.cfg.Open(ctx, port)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	mac := b.MAC()
	if !s.take(mac) {
		return nil, fail(ErrBoard, "", "board %s is being prepared on another port", mac)
	}
	defer s.leave(mac)
	if why := b.Protected(); why != "" {
		return nil, fail(ErrBoard, "prepare boards before their protection is switched on", "board %s: %s", mac, why)
	}
	v := &visit{station: s, board: b, tell: tell}
	if v.rec, err = s.record(ctx, b); err != nil {
		return nil, err
	}
	out := &Result{Record: v.rec}
	runs := v.rec.Runs
	err = v.run(ctx, out)
	if err == nil && out.Again && len(out.Firmware) == 0 {
		return out, b.Run(ctx)
	}
	v.rec.Runs, v.rec.Millis, v.rec.Operator, v.rec.Failure = runs+1, s.cfg.Now().Sub(began).Milliseconds(), s.cfg.Operator, ""
	if err != nil {
		v.rec.Failure = err.Error()
	}
	return out, errors.Join(err, s.cfg.Journal.Put(ctx, v.rec))
}

func (s *Station) take(mac string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[mac] {
		return false
	}
	s.busy[mac] = true
	return true
}

func (s *Station) leave(mac string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, mac)
}

// record returns what the journal knows of a board, or begins its record.
func (s *Station) record(ctx context.Context, b Board) (*Record, error) {
	r, err := s.cfg.Journal.Get(ctx, b.MAC())
	if err != nil || r != nil {
		return r, err
	}
	if r, err = s.adopt(ctx, b); err != nil || r != nil {
		return r, err
	}
	r = &Record{MAC: b.MAC(), Chip: b.Chip(), Step: StepNew, Started: s.cfg.Now()}
	if s.cfg.Recipe.usesSerial() {
		if r.Serial, err = s.nextSerial(); err != nil {
			return nil, err
		}
	}
	if r.Thing, err = s.thingName(r); err != nil {
		return nil, err
	}
	other, err := s.cfg.Journal.ByThing(ctx, r.Thing)
	if err != nil {
		return nil, err
	}
	if other != nil {
		return nil, fail(ErrRecipe, "let the name hold {mac} or {serial}", "board %s has the thing %s already", other.MAC, r.Thing)
	}
	return r, s.cfg.Journal.Put(ctx, r)
}

func (s *Station) nextSerial() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.serials) == 0 {
		return "", fail(ErrRecipe, "give a list with further numbers", "all %d serial numbers are used", len(s.cfg.Serials))
	}
	serial := s.serials[0]
	s.serials = s.serials[1:]
	return serial, nil
}

func (s *Station) thingName(r *Record) (string, error) {
	name := s.cfg.Recipe.describe(r).fill(s.cfg.Recipe.Thing)
	if !thingPattern.MatchString(name) {
		return "", fail(ErrRecipe, "use letters, digits, and :_-", "%q cannot be the name of a thing", name)
	}
	return name, nil
}

func (r *Recipe) describe(rec *Record) *board { return &board{rec.MAC, rec.Chip, rec.Serial} }

// visit is one board while it is prepared.
type visit struct {
	station *Station
	board   Board
	rec     *Record
	tell    func(Event)
}

func (v *visit) say(text string) {
	v.tell(Event{MAC: v.rec.MAC, Thing: v.rec.Thing, Step: v.rec.Step, Text: text})
}

// to notes a step; it is on disk when to returns.
func (v *visit) to(ctx context.Context, step Step) error {
	v.rec.Step = step
	return v.station.cfg.Journal.Put(ctx, v.rec)
}

func (v *visit) run(ctx context.Context, out *Result) error {
	if v.rec.Step == StepDone {
		if !v.station.cfg.Reissue {
			return v.again(ctx, out)
		}
		if err := v.begin(ctx); err != nil {
			return err
		}
	}
	where, err := v.where(ctx) // a board that has no room is found before a certificate is issued
	if err != nil {
		return err
	}
	if err := v.station.identify(ctx, v.rec, v.say); err != nil {
		return err
	}
	if v.rec.Step == StepAttached {
		if err := v.write(ctx, where); err != nil {
			return err
		}
	}
	if v.rec.Step == StepWritten {
		if err := v.finish(ctx); err != nil {
			return err
		}
	}
	if out.Firmware == nil {
		for _, w := range v.rec.Written {
			if w.Name != identityName {
				out.Firmware = append(out.Firmware, w)
			}
		}
	}
	v.say("starting the application")
	return v.board.Run(ctx)
}

// again deals with a board that is done: it must still hold its identity; its firmware is brought up
// to date.
func (v *visit) again(ctx context.Context, out *Result) error {
	v.say("prepared before: checking its identity")
	sum, err := v.board.MD5(ctx, v.rec.Address, v.rec.Size)
	if err != nil {
		return err
	}
	if hex.EncodeToString(sum[:]) != v.rec.MD5 {
		return fail(ErrDone, "give it a new one with --reissue, which revokes the old one",
			"board %s was prepared on %s as thing %s and does not hold its identity any more", v.rec.MAC, v.rec.Updated.Format(time.DateTime), v.rec.Thing)
	}
	out.Again = true
	if len(v.station.cfg.Firmware) == 0 {
		return nil
	}
	out.Firmware, err = v.board.Write(ctx, v.station.cfg.Firmware, v.progress)
	if err != nil {
		return err
	}
	return v.board.Run(ctx)
}

// begin starts a board anew: its certificate is to be revoked when the next one is in its flash.
func (v *visit) begin(ctx context.Context) error {
	if v.rec.ARN != "" && !slices.Contains(v.rec.retire, v.rec.ARN) {
		v.rec.retire = append(v.rec.retire, v.rec.ARN)
	}
	v.rec.CertificateID, v.rec.ARN, v.rec.PEM = "", "", ""
	if err := v.station.cfg.Journal.dropKey(v.rec.MAC); err != nil {
		return err
	}
	return v.to(ctx, StepNew)
}

// identityName is the name of the region with the identity.
const identityName = "identity"

// where finds the identity's partition and checks that everything fits the flash.
func (v *visit) where(ctx context.Context) (Region, error) {
	i := &v.station.cfg.Recipe.Identity
	r := Region{Name: identityName, Address: i.Address, Data: make([]byte, i.Size)}
	if i.Partition != "" {
		p, err := v.partition(ctx, i.Partition)
		if err != nil {
			return Region{}, err
		}
		r.Address, r.Data = p.Offset, make([]byte, p.Size)
		if len(v.station.cfg.Firmware) == 0 {
			return r, nil // the board's own table names it
		}
	}
	size, err := v.board.FlashSize(ctx)
	if err != nil {
		return Region{}, err
	}
	for _, x := range append([]Region{r}, v.station.cfg.Firmware...) {
		if end := uint64(x.Address) + uint64(len(x.Data)); end > uint64(size) {
			return Region{}, fail(ErrBoard, "use a board with more flash, or another partition table", "%s ends at %#x, the flash of board %s at %#x", x.Name, end, v.rec.MAC, size)
		}
	}
	return r, nil
}

// partition finds a partition by its name, in the firmware's table or in the flash.
func (v *visit) partition(ctx context.Context, name string) (partition.Partition, error) {
	table := v.station.cfg.Table
	if table == nil {
		var err error
		if table, err = v.table(ctx); err != nil {
			return partition.Partition{}, err
		}
	}
	p, ok := table.ByName(name)
	if !ok {
		var names []string
		for _, p := range table {
			names = append(names, p.Name)
		}
		return p, fail(ErrBoard, "name one of them in the recipe, or add the partition to the table", "the partition table has no %q; it has %q", name, names)
	}
	return p, nil
}

// tableSize is how much of the flash a partition table can take.
const tableSize = 0xC00

// table returns the partition table in the flash. Boards of a kind have the same, so it is read once:
// after that its MD5, one command instead of fifty, tells that it is that one.
func (v *visit) table(ctx context.Context) (partition.Table, error) {
	sum, err := v.board.MD5(ctx, partition.DefaultOffset, tableSize)
	if err != nil {
		return nil, err
	}
	s := v.station
	s.mu.Lock()
	known, ok := s.tables[sum]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	v.say("reading the partition table")
	b, err := v.board.Read(ctx, partition.DefaultOffset, tableSize)
	if err != nil {
		return nil, err
	}
	t, _, err := partition.ParseBinary(b, partition.Options{})
	if err != nil {
		return nil, &Error{Kind: ErrBoard, Reason: "board " + v.rec.MAC + " has no partition table", Cause: err,
			Fix: "flash the firmware first, or with --firmware, or give address and size in the recipe"}
	}
	if md5.Sum(b) == sum {
		s.mu.Lock()
		s.tables[sum] = t
		s.mu.Unlock()
	}
	return t, nil
}

func (v *visit) progress(name string, done, total int) {
	v.tell(Event{MAC: v.rec.MAC, Thing: v.rec.Thing, Step: v.rec.Step, Text: "writing " + name, Done: done, Total: total})
}

// write puts firmware and identity into the flash.
func (v *visit) write(ctx context.Context, where Region) error {
	s := v.station
	key, err := s.cfg.Journal.key(v.rec.MAC)
	if errors.Is(err, os.ErrNotExist) {
		return v.lost(ctx)
	}
	if err != nil {
		return err
	}
	_, keyDER, err := parseKey(key)
	if err != nil {
		return fmt.Errorf("the key of board %s: %w", v.rec.MAC, err)
	}
	image, err := s.cfg.Recipe.image(uint32(len(where.Data)), &contents{certificate: []byte(v.rec.PEM), key: key, ca: s.root,
		certificateDER: derOf([]byte(v.rec.PEM)), keyDER: keyDER, caDER: derOf(s.root),
		certificateID: v.rec.CertificateID, endpoint: s.endpoint, thing: v.rec.Thing, board: s.cfg.Recipe.describe(v.rec)})
	if err != nil {
		return err
	}
	where.Data = image
	regions := append(slices.Clone(s.cfg.Firmware), where)
	if r, err := v.keysRegion(ctx); err != nil {
		return err
	} else if r != nil {
		regions = append(regions, *r)
	}
	v.say("writing")
	written, err := v.board.Write(ctx, regions, v.progress)
	if err != nil {
		return err
	}
	sum, hash := md5.Sum(image), sha256.Sum256(image)
	v.rec.Written, v.rec.Address, v.rec.Size, v.rec.Endpoint = written, where.Address, uint32(len(image)), s.endpoint
	v.rec.MD5, v.rec.Image = hex.EncodeToString(sum[:]), hex.EncodeToString(hash[:])
	return v.to(ctx, StepWritten)
}

// keysRegion is the partition of the NVS keys, nil if the recipe wants none written.
func (v *visit) keysRegion(ctx context.Context) (*Region, error) {
	r := v.station.cfg.Recipe
	if r.Identity.NVSKeysPartition == "" {
		return nil, nil
	}
	keys, err := r.nvsKeys()
	if err != nil {
		return nil, err
	}
	p, err := v.partition(ctx, r.Identity.NVSKeysPartition)
	if err != nil {
		return nil, err
	}
	return &Region{Name: "nvs keys", Address: p.Offset, Data: keys.AppendPartition(nil)}, nil
}

// lost begins again when the key of a certificate that was issued is gone.
func (v *visit) lost(ctx context.Context) error {
	if err := v.begin(ctx); err != nil {
		return err
	}
	return fail(ErrBoard, "prepare the board again: it gets a new certificate and this one is revoked",
		"the key of board %s is not in the journal's folder any more", v.rec.MAC)
}

// finish revokes what the board had before and forgets its key.
func (v *visit) finish(ctx context.Context) error {
	s := v.station
	for len(v.rec.retire) > 0 {
		v.say("revoking its old certificate")
		if s.cfg.Cloud != nil {
			if err := s.cfg.Cloud.Revoke(ctx, v.rec.retire[0]); err != nil {
				return err
			}
		}
		v.rec.retire = v.rec.retire[1:]
		if err := v.to(ctx, StepWritten); err != nil {
			return err
		}
	}
	if err := s.cfg.Journal.dropKey(v.rec.MAC); err != nil {
		return err
	}
	return v.to(ctx, StepDone)
}
