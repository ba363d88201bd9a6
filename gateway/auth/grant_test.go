package auth

import (
	"testing"
	"time"
)

func TestGrant(t *testing.T) {
	t.Parallel()
	v, err := New(Config{Mode: ModeFunction})
	if err != nil || !v.Asks() {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	for said, reason := range map[string]string{
		`{"user":"alice"}`: "", `{"user":"alice","exp":1001,"claims":{"publish":["topic:*"],"call":["a"]},"state":null,"subscribe":["topic:x"]}`: "",
		``: ReasonClaims, `[]`: ReasonClaims, `{}`: ReasonSubject, `{"user":"a b"}`: ReasonSubject, `{"user":1}`: ReasonClaims,
		`{"user":"alice","exp":"1"}`: ReasonClaims, `{"user":"alice","exp":-1}`: ReasonClaims, `{"user":"alice","exp":900}`: ReasonExpired,
		`{"user":"alice","claims":[]}`: ReasonClaims, `{"user":"alice","claims":{"publish":"x"}}`: ReasonClaims, `{"user":"alice","subscribe":[1]}`: ReasonClaims,
	} {
		if id, err := v.Grant([]byte(said), now); ReasonOf(err) != reason || (err == nil) != (id.User == "alice") {
			t.Errorf("%s: %+v, %v, want %q", said, id, err, reason)
		}
	}
	id, _ := v.Grant([]byte(`{"user":"alice","exp":1001,"claims":{"publish":["topic:*"],"call":["a"]},"state":{"a":1},"subscribe":["topic:x","user:bob"]}`), now)
	if !id.CanPublish("topic:y") || id.CanPublish("all") || !id.CanCall("a") || id.CanCall("b") || !id.CanSubscribe("topic:x") || id.CanSubscribe("topic:y") ||
		id.CanSubscribe("user:bob") || id.CanManage("bob") || id.Granted.State != `{"a":1}` || id.Expires.Unix() != 1001 {
		t.Errorf("%+v %+v", id, id.Granted)
	}
}

func FuzzGrant(f *testing.F) {
	v, err := New(Config{Mode: ModeFunction})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"user":"alice","exp":1e9,"claims":{"manage":["*"]},"subscribe":["all"]}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		if id, err := v.Grant(said, time.Unix(0, 0)); err == nil && !validUser(id.User) {
			t.Errorf("%q is let in", id.User)
		}
	})
}
