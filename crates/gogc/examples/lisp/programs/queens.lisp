; In how many ways n queens stand on a board of n by n without threatening each other,
; by lists and closures.

(define (safe? queen rest)
  (let loop ((rest rest) (distance 1))
    (or (null? rest)
        (let ((other (car rest)))
          (and (not (= other queen))
               (not (= (abs (- other queen)) distance))
               (loop (cdr rest) (+ distance 1)))))))

(define (queens n)
  (define (place row placed)
    (if (= row n)
        1
        (fold (lambda (count column)
                (if (safe? column placed)
                    (+ count (place (+ row 1) (cons column placed)))
                    count))
              0
              (iota n))))
  (place 0 '()))

(do ((n 1 (+ n 1))) ((> n 6))
  (print n " queens: " (queens n)))

; The first solution, by leaving early.
(define (first-solution n)
  (let try ((column 0) (placed '()))
    (cond ((= (length placed) n) placed)
          ((= column n)
           (if (null? placed) #f (try (+ (car placed) 1) (cdr placed))))
          ((safe? column placed) (try 0 (cons column placed)))
          (else (try (+ column 1) placed)))))
(print (first-solution 6))
