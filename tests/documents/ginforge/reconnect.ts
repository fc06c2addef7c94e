let reconnectAttempts = 0
const maxReconnectAttempts = 5

ws.onclose = () => {
  if (reconnectAttempts < maxReconnectAttempts) {
    setTimeout(() => {
      reconnectAttempts++
      connect(token)
    }, 5000)
  }
}
