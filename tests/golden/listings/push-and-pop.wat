;; region at 0x400000, CPL 3: 4 instructions in 1 blocks, 772 bytes of WebAssembly
;; …
;; 0x400000: push rbx
;; 0x400001: push rcx
        (local.set $63 (i64.sub (local.get $rsp) (i64.const 16)))
        (local.set $64 (i32.wrap_i64 (local.get $63)))
        (local.set $65
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $64) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $63) (i64.load offset=16384 (local.get $65))) (i64.const 4081))
        if ;; likely
          (local.set $66 (i32.add (local.get $64) (i32.load offset=16392 (local.get $65))))
          (i64.store offset=8 (local.get $66) (local.get $rbx))
          (i64.store (local.get $66) (local.get $rcx))
          (local.set $rsp (local.get $63))
        else
          (call $write
            (local.get $cpu)
            (i64.sub (local.get $rsp) (i64.const 8))
            (i32.const 8)
            (i32.or (i32.const 2) (i32.const 17))
            (local.get $rbx))
          (local.set $at (i32.const 117510144))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
          (local.set $rsp (i64.sub (local.get $rsp) (i64.const 8)))
          (call $write
            (local.get $cpu)
            (i64.sub (local.get $rsp) (i64.const 8))
            (i32.const 8)
            (i32.or (i32.const 2) (i32.const 17))
            (local.get $rcx))
          (local.set $at (i32.const 117575681))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
          (local.set $rsp (i64.sub (local.get $rsp) (i64.const 8)))
        end
;; 0x400002: pop rdx
;; 0x400003: pop rbx
        (local.set $63 (local.get $rsp))
        (local.set $66 (i32.wrap_i64 (local.get $63)))
        (local.set $65
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $66) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $63) (i64.load (local.get $65))) (i64.const 4081))
        if ;; likely
          (local.set $64 (i32.add (local.get $66) (i32.load offset=8 (local.get $65))))
          (local.set $rdx (i64.load (local.get $64)))
          (local.set $rbx (i64.load offset=8 (local.get $64)))
          (local.set $rsp (i64.add (local.get $63) (i64.const 16)))
        else
          (local.set $67
            (call $read
              (local.get $cpu)
              (local.get $rsp)
              (i32.const 8)
              (i32.or (i32.const 2) (i32.const 16))))
          (local.set $at (i32.const 117641218))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
          (local.set $rdx (local.get $67))
          (local.set $rsp (i64.add (local.get $rsp) (i64.const 8)))
          (local.set $68
            (call $read
              (local.get $cpu)
              (local.get $rsp)
              (i32.const 8)
              (i32.or (i32.const 2) (i32.const 16))))
          (local.set $at (i32.const 117706755))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
          (local.set $rbx (local.get $68))
          (local.set $rsp (i64.add (local.get $rsp) (i64.const 8)))
        end
        (local.set $left (i32.sub (local.get $left) (i32.const 4)))
        (local.set $target (i64.add (local.get $page) (i64.const 4)))
        (br $3)
      end
;; …
