// A hub in Go: gorilla/websocket, a goroutine for each room, two for each connection, and prepared messages.
//
// One difference from the usual hub: a full queue of a client makes the room wait, where many hubs would drop
// the client. Here everybody is to get everything; a client that takes nothing for writeSeconds is dropped.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	queueMessages = 256
	writeSeconds  = 10 * time.Second
)

// client is one connection with its queue.
type client struct {
	conn  *websocket.Conn
	queue chan *websocket.PreparedMessage
	gone  chan struct{} // closed when nothing can be written any more
}

// room sends what one member says to all.
type room struct {
	enter, leave chan *client
	said         chan *websocket.PreparedMessage
}

func newRoom() *room {
	r := &room{make(chan *client), make(chan *client), make(chan *websocket.PreparedMessage, queueMessages)}
	go r.run()
	return r
}

func (r *room) run() {
	members := make(map[*client]struct{})
	for {
		select {
		case c := <-r.enter:
			members[c] = struct{}{}
		case c := <-r.leave:
			delete(members, c)
			close(c.queue)
		case message := <-r.said:
			for c := range members {
				select {
				case c.queue <- message:
				case <-c.gone:
				}
			}
		}
	}
}

func (c *client) write() {
	defer c.conn.Close() // ends read, too
	defer close(c.gone)
	for message := range c.queue {
		c.conn.SetWriteDeadline(time.Now().Add(writeSeconds))
		if c.conn.WritePreparedMessage(message) != nil {
			return
		}
	}
}

func (c *client) read(r *room) {
	defer func() { r.leave <- c }()
	for {
		kind, text, err := c.conn.ReadMessage() // answers pings and the close frame
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(kind, text)
		if err != nil {
			return
		}
		r.said <- message
	}
}

// rooms are found by their path, and stay.
type rooms struct {
	sync.Mutex
	byPath map[string]*room
}

func (all *rooms) at(path string) *room {
	all.Lock()
	defer all.Unlock()
	r, ok := all.byPath[path]
	if !ok {
		r = newRoom()
		all.byPath[path] = r
	}
	return r
}

func main() {
	runtime.GOMAXPROCS(1) // the server has one core
	upgrader := websocket.Upgrader{}
	all := rooms{byPath: make(map[string]*room)}
	serve := func(w http.ResponseWriter, request *http.Request) {
		conn, err := upgrader.Upgrade(w, request, nil)
		if err != nil {
			log.Print(err)
			return
		}
		c := &client{conn, make(chan *websocket.PreparedMessage, queueMessages), make(chan struct{})}
		r := all.at(request.URL.Path)
		r.enter <- c
		// Goroutines of their own, so that what the HTTP server holds of the request can be freed.
		go c.write()
		go c.read(r)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"ready\": true, \"port\": %d}\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		log.Fatal(http.Serve(listener, http.HandlerFunc(serve)))
	}()
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		runtime.GC()
		fmt.Println("{\"done\": true}")
	}
}
