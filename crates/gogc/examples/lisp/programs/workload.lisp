; What the collectors are compared by: two interpreters that keep some thirty megabytes, throw much
; away, change what is old, and leave circles behind.
;
; Each has a table of trees, of which it replaces one at a time; between that it builds and drops
; lists and queues whose links go both ways. A tick is one replacement.

(define (tree depth)
  (if (= depth 0)
      '()
      (vector (tree (- depth 1)) depth (tree (- depth 1)))))
(define (sum-of tree)
  (if (null? tree) 0 (+ (sum-of (vector-ref tree 0)) (vector-ref tree 1) (sum-of (vector-ref tree 2)))))

; A ring of nodes: a value, the node before, the node after.
(define (ring n)
  (let* ((first (vector 0 #f #f)))
    (let loop ((last first) (i 1))
      (if (= i n)
          (begin (vector-set! last 2 first)
                 (vector-set! first 1 last)
                 first)
          (let ((node (vector i last #f)))
            (vector-set! last 2 node)
            (loop node (+ i 1)))))))
(define (ring-sum ring)
  (let loop ((node (vector-ref ring 2)) (sum (vector-ref ring 0)))
    (if (eq? node ring) sum (loop (vector-ref node 2) (+ sum (vector-ref node 0))))))

(define (work! seed places replacements)
  (let ((table (make-table)) (expected (sum-of (tree 7))))
    (do ((i 0 (+ i 1))) ((= i places))
      (table-set! table i (tree 7)))
    (do ((i 0 (+ i 1)) (at seed (modulo (+ (* at 75) 74) 65537))) ((= i replacements))
      (let ((place (remainder at places)))
        (unless (= (sum-of (table-ref table place)) expected)
          (error "a tree is not what it was"))
        (table-set! table place (tree 7))
        (let ((dropped (map (lambda (n) (* n n)) (iota 60))))
          (unless (= (ring-sum (ring 20)) 190) (error "a ring is not what it was"))
          (unless (= (length dropped) 60) (error "a list is not what it was"))))
      (tick))
    'done))

(define places 4000)
(define replacements 15000)
(define other (spawn (lambda () (work! 1 places replacements))))
(work! 2 places replacements)
(join other)
