// 离线消息队列
const messageQueue: any[] = []

const send = (message: any) => {
  if (connected.value) {
    ws.value?.send(JSON.stringify(message))
  } else {
    // 未连接时放入队列
    messageQueue.push(message)
  }
}

// 连接成功后发送队列中的消息
ws.onopen = () => {
  while (messageQueue.length > 0) {
    const msg = messageQueue.shift()
    ws.value?.send(JSON.stringify(msg))
  }
}
