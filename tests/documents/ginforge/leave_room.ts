wsStore.send({
  type: 'leave_room',
  content: 'chat:room001'
})
