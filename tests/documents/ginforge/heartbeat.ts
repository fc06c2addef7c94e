// 前端定时发送心跳
setInterval(() => {
  wsStore.send({ type: 'ping' })
}, 30000)  // 每 30 秒
