// 前端加入房间
wsStore.send({
  type: 'join_room',
  content: 'chat:room001'
})
