//go:build !linux

package main

import (
	"errors"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// The load generator needs epoll, and /proc for the servers' CPU time and memory. It builds elsewhere, so that
// `go build ./...` and `go vet ./...` work, and says so when it is started.
var (
	errAgain     = errors.New("not now")
	errLinuxOnly = errors.New("the load generator runs on Linux only: it reads /proc and uses epoll")
)

const wantRead, wantWrite = 1, 4

func openSocket(netip.AddrPort, netip.Addr, int) (int, error) { return -1, errLinuxOnly }
func connected(int) error                                     { return errLinuxOnly }
func readSocket(int, []byte) (int, error)                     { return 0, errLinuxOnly }
func writeSocket(int, []byte) (int, error)                    { return 0, errLinuxOnly }
func closeSocket(int)                                         {}
func resetSocket(int)                                         {}
func listenSocket() (int, string, error)                      { return -1, "", errLinuxOnly }
func acceptSocket(int) (int, error)                           { return -1, errLinuxOnly }
func nap(d time.Duration)                                     { time.Sleep(d) }
func raiseFiles(uint64) error                                 { return errLinuxOnly }
func dieWithParent() *syscall.SysProcAttr                     { return nil }
func cpuOf(int) (float64, error)                              { return 0, errLinuxOnly }
func rssOf(int) (float64, error)                              { return 0, errLinuxOnly }
func machineBusy() (busy, stolen float64, err error)          { return 0, 0, errLinuxOnly }
func memoryAvailable() float64                                { return 0 }
func cpuName() string                                         { return "unknown processor" }
func kernel() string                                          { return runtime.GOOS }

type poller struct{}

func newPoller() (*poller, error)               { return nil, errLinuxOnly }
func (*poller) close()                          {}
func (*poller) add(int, int32, uint32) error    { return errLinuxOnly }
func (*poller) change(int, int32, uint32) error { return errLinuxOnly }
func (*poller) remove(int)                      {}
func (*poller) wait(time.Duration) int          { return 0 }
func (*poller) event(int) (int32, bool)         { return 0, false }
